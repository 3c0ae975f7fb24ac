"""RoleBench on this machine: fetched from the hub, resumed and checked, or taken from a folder that is here already."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from rolekit.engine import hub
from rolekit.engine.transfer import WAITS_SECONDS, Job, Report, check_space, fetch, is_there
from rolekit.errors import RolekitError
from rolekit.paths import data_dir, replacing
from rolekit.rolebench.manifest import MANIFEST, file_entry, write_manifest
from rolekit.text import count, one_line, size

REPO = "ZenMoore/RoleBench"
FOLDERS = ("rolebench-", "instructions-", "profiles-")
"""What the folders of the data set are called; pictures and pages beside them are not fetched."""


def pull_rolebench(
    report: Report = lambda name, done, total: None,
    announce: Callable[[str], None] = lambda text: None,
    waits_seconds: Sequence[float] = WAITS_SECONDS,
) -> Path:
    """The folder with all of RoleBench, what is missing of it fetched from the hub.

    Run again after an interruption it goes on where it stopped. Raises RolekitError when the hub, the network or the
    disk is at fault, or a file arrives with a wrong checksum.
    """
    folder = data_dir() / "rolebench"
    commit, jobs = _jobs(folder)
    missing = [job for job in jobs if not is_there(job)]
    check_space(missing)
    for number, job in enumerate(missing, start=1):
        place = job.target.relative_to(folder).as_posix()
        announce(f"{number} of {len(missing)}: {one_line(place)}, {size(job.file_bytes)}")
        fetch(job, report, waits_seconds=waits_seconds)
    _write(folder, (job.target for job in jobs), f"{REPO}@{commit}")
    return folder


def copy_rolebench(source: Path, announce: Callable[[str], None] = lambda text: None) -> Path:
    """The folder with RoleBench, its files copied from a clone or download of it; those that are there already stay.

    Raises RolekitError when source has none of RoleBench's folders, or the copy cannot be written.
    """
    folder = data_dir() / "rolebench"
    if not source.is_dir():
        raise RolekitError(f"There is no folder {source}.", "Give the folder that holds rolebench-eng.")
    files = sorted(
        file
        for top in source.iterdir()
        if top.is_dir() and top.name.startswith(FOLDERS)
        for file in top.rglob("*")
        if file.is_file()
    )
    if not files:
        raise RolekitError(
            f"{source} holds none of RoleBench's folders (rolebench-eng, rolebench-zh …).",
            "Give the folder that holds them.",
        )
    copied = 0
    for file in files:
        target = folder / file.relative_to(source)
        if target.is_file() and filecmp.cmp(file, target, shallow=False):
            continue
        with file.open("rb") as stream, replacing(target) as made:
            shutil.copyfileobj(stream, made)
        copied += 1
    announce(f"{count(copied)} files copied, {count(len(files) - copied)} were there already")
    _write(folder, (folder / file.relative_to(source) for file in files), str(source))
    return folder


def _jobs(folder: Path) -> tuple[str, list[Job]]:
    """The commit, and every file of the data set as a job."""
    from huggingface_hub import HfApi, hf_hub_url

    with hub.plain_errors(REPO):
        info = HfApi(endpoint=hub.endpoint(), library_name="rolekit").dataset_info(
            REPO, files_metadata=True, timeout=hub.TIMEOUT_SECONDS
        )
        commit = info.sha or "main"
        jobs = []
        for sibling in info.siblings or ():
            if not sibling.rfilename.startswith(FOLDERS):
                continue
            checksum = (sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or ""
            url = hf_hub_url(
                REPO, sibling.rfilename, repo_type="dataset", revision=commit, endpoint=hub.endpoint()
            )
            jobs.append(
                Job(REPO, url, sibling.size or 0, checksum, _target(folder, sibling.rfilename, checksum))
            )
    if not jobs:
        raise RolekitError(
            f"{REPO} on the hub has none of RoleBench's folders.", "Use --from with a folder that has."
        )
    return commit, jobs


def _target(folder: Path, name: str, checksum: str) -> Path:
    """Where the file goes. A server chose the name: it must not lead out of the folder."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/") or "\\" in name or "\0" in name or ":" in name:
        raise RolekitError(
            f"The hub lists a file with a name that leads elsewhere ({one_line(name)}).",
            "Do not trust the server at HF_ENDPOINT.",
        )
    if len(checksum) not in (40, 64) or not all(letter in "0123456789abcdef" for letter in checksum):
        raise RolekitError(
            f"The hub gives no checksum for {one_line(name)}, so a download could not be checked.",
            "Use the public hub (unset HF_ENDPOINT), or --from with a folder.",
        )
    return folder.joinpath(*parts)


def _write(folder: Path, files: Iterable[Path], source: str) -> None:
    entries = [file_entry(file, folder) for file in sorted(files)]
    write_manifest(folder / MANIFEST, "data pull", entries, source=source)
