"""Fetching one file over HTTP: resumed where it stopped, checked against the hub's checksum, then renamed.

A part file is called NAME.<first of its checksum>.part, so one command after another goes on with it, and never
with the bytes of another version. What has the name NAME is whole.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from rolekit.engine import hub
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir
from rolekit.text import size

if TYPE_CHECKING:
    import httpx

CHUNK_BYTES = 1 << 20
SPARE_BYTES = 64 << 20
WAITS_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)
"""How long to wait before each further attempt that brought nothing; one that brought something starts over."""


class Report(Protocol):
    """Told how far a download is."""

    def __call__(self, name: str, done: int, total: int) -> None:
        """name: the file; done and total: bytes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to fetch: where it is, what it must be, and where it goes."""

    repo: str
    """The repository's name, for sentences."""
    url: str
    file_bytes: int
    checksum: str
    """The content's sha256, 64 hex digits; or its git blob id, 40, where the hub keeps the file in git itself."""
    target: Path

    @property
    def part(self) -> Path:
        """What has come of this very version so far."""
        return self.target.with_name(f"{self.target.name}.{self.checksum[:12]}.part")

    def digest(self) -> hashlib._Hash:
        """A fresh hash of the checksum's kind."""
        if len(self.checksum) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.file_bytes, usedforsecurity=False)


class _NotFinished(Exception):
    """The connection broke or the server was busy: worth another attempt."""


def is_there(job: Job) -> bool:
    """Whether the file has arrived before."""
    return job.target.is_file() and job.target.stat().st_size == job.file_bytes


def fetch(
    job: Job,
    report: Report = lambda name, done, total: None,
    check: Callable[[Path], object] = lambda part: None,
    waits_seconds: Sequence[float] = WAITS_SECONDS,
) -> None:
    """Put the job's file at its target, unless it is there; run again after an interruption it goes on.

    check sees the whole file before it gets its name, and raises RolekitError to refuse it. Raises RolekitError when
    the hub, the network, the disk or the file itself is at fault; a file that is refused is removed.
    """
    with _alone(job):
        if not is_there(job):
            _fetch(job, report, check, waits_seconds)


def check_space(jobs: Sequence[Job]) -> None:
    """Raises RolekitError when the disk cannot take what the jobs still lack."""
    if not jobs:
        return
    need = sum(job.file_bytes - (job.part.stat().st_size if job.part.is_file() else 0) for job in jobs)
    folder = ensure_dir(jobs[0].target.parent)
    free = shutil.disk_usage(folder).free
    if need + SPARE_BYTES > free:
        raise RolekitError(
            f"The download needs {size(need)}, and {folder} has {size(free)} free.",
            "Free some space, choose something smaller, or set ROLEKIT_HOME to a larger disk.",
        )


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    from filelock import FileLock, Timeout

    ensure_dir(job.target.parent)
    lock = FileLock(job.part.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout as error:
        raise RolekitError(
            f"Another rolekit is fetching {job.target.name} right now.", "Wait for it, then run this again."
        ) from error
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _fetch(job: Job, report: Report, check: Callable[[Path], object], waits_seconds: Sequence[float]) -> None:
    for stale in job.target.parent.glob(f"{job.target.name}.*.part"):
        if stale != job.part:
            stale.unlink(missing_ok=True)
    try:
        with job.part.open("ab+") as file:
            digest = _transfer(job, file, report, waits_seconds)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise RolekitError(
            f"{job.target.name} could not be written ({error.strerror or error}).",
            "Free some space and run the same command again: it goes on where it stopped."
            if full
            else "Check the disk and the folder's permissions.",
        ) from error
    _accept(job, digest, check)


def _accept(job: Job, digest: str, check: Callable[[Path], object]) -> None:
    if digest != job.checksum:
        job.part.unlink(missing_ok=True)
        raise RolekitError(
            f"{job.target.name} arrived with a wrong checksum and was removed.",
            "Run the same command again; if it happens twice, do not trust the server it comes from.",
        )
    try:
        check(job.part)
    except RolekitError as error:
        job.part.unlink(missing_ok=True)
        raise RolekitError(
            error.what_happened.replace(job.part.name, job.target.name),
            "It was removed; choose another file of the repository.",
        ) from error
    job.part.replace(job.target)


def _transfer(job: Job, file: BinaryIO, report: Report, waits_seconds: Sequence[float]) -> str:
    """The sha256 of the whole file, after as many attempts as bring it further."""
    import httpx

    digest = job.digest()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    waits = iter(waits_seconds)
    timeout = httpx.Timeout(30.0, connect=hub.TIMEOUT_SECONDS)
    with httpx.Client(follow_redirects=True, timeout=timeout) as client:
        while (before := file.tell()) != job.file_bytes:
            try:
                digest = _attempt(job, client, file, digest, report)
            except (httpx.TransportError, _NotFinished) as error:
                if file.tell() > before:
                    waits = iter(waits_seconds)
                wait = next(waits, None)
                if wait is None:
                    raise _stopped(job, file.tell(), error) from error
                time.sleep(wait)
            except httpx.HTTPError as error:
                raise hub.unreachable(error) from error
    return digest.hexdigest()


def _attempt(
    job: Job, client: httpx.Client, file: BinaryIO, digest: hashlib._Hash, report: Report
) -> hashlib._Hash:
    """One request for what is missing, appended as it comes; the digest of all that is in the file."""
    have, total = file.tell(), job.file_bytes
    headers = hub.request_headers() | {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with client.stream("GET", job.url, headers=headers) as response:
        _check_status(job, response)
        if have and not _continues(response, have):
            have, digest = 0, job.digest()
            file.seek(0)
            file.truncate()
            if response.status_code != 200:
                raise _NotFinished("the server could not go on where we stopped")
        _check_length(job, response, have)
        report(job.target.name, have, total)
        for chunk in response.iter_raw():  # as it comes: a chunk size would lose the last one when it breaks
            file.write(chunk)
            file.flush()
            digest.update(chunk)
            have += len(chunk)
            report(job.target.name, min(have, total), total)
            if have > total:
                break
    if have > total:
        # More than was announced is not our file: nothing of it can be kept.
        file.seek(0)
        file.truncate()
        raise RolekitError(
            f"The server sent more of {job.target.name} than the hub announced.",
            "Run the same command again later.",
        )
    if have < total:
        raise _NotFinished("the connection ended early")
    return digest


def _check_status(job: Job, response: httpx.Response) -> None:
    status = response.status_code
    if response.headers.get("X-Error-Code") == "GatedRepo":
        raise hub.gated(job.repo)
    if status in (408, 425, 429) or status >= 500:
        raise _NotFinished(f"the server answered {status}")
    if status >= 400 and status != 416:
        raise hub.refused(job.repo, status)


def _check_length(job: Job, response: httpx.Response, have: int) -> None:
    announced = str(response.headers.get("Content-Length", ""))
    if announced.isdigit() and have + int(announced) != job.file_bytes:
        raise RolekitError(
            f"The server sends something other than {job.target.name}: {have + int(announced):,} bytes"
            f" instead of {job.file_bytes:,}.",
            "Check the network's login page, and run the same command again.",
        )


def _continues(response: httpx.Response, have: int) -> bool:
    """Whether the body begins at the byte asked for: a server may ignore the range and send everything."""
    span = str(response.headers.get("Content-Range", ""))
    return response.status_code == 206 and span.startswith(f"bytes {have}-")


def _stopped(job: Job, done: int, error: Exception) -> RolekitError:
    if not done:
        return hub.unreachable(error)
    share = f"{size(done)} of {size(job.file_bytes)}"
    return RolekitError(
        f"The connection broke after {share} of {job.target.name}.",
        "Run the same command again: it goes on where it stopped.",
    )
