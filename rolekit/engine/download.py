"""Fetching a model from the hub: its files transferred and checked (rolekit.engine.transfer), then its header read.

llama.cpp only ever sees a whole file whose header is sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rolekit.engine import hub
from rolekit.engine.gguf_header import read_header
from rolekit.engine.hub import HubFile, HubRepo
from rolekit.engine.references import HubRef, parse_hub
from rolekit.engine.transfer import WAITS_SECONDS, Job, Report, check_space, fetch, is_there
from rolekit.text import size


def pull(
    ref: str,
    report: Report = lambda name, done, total: None,
    announce: Callable[[str], None] = lambda text: None,
    waits_seconds: Sequence[float] = WAITS_SECONDS,
) -> Path:
    """The local file of `hf:owner/repo[/file.gguf]`, fetched where it is not there yet (the first of a split model).

    Run again after an interruption it goes on where it stopped. Raises RolekitError when the hub, the network, the
    disk or the file itself is at fault; a file with a wrong checksum or header is removed.
    """
    wanted = parse_hub(ref)
    repo = hub.look_up(wanted.repo)
    files = [hub.complete(repo, file) for file in hub.choose(repo, wanted.file)]
    jobs = {file.path: _job(repo, file) for file in files}
    missing = {path: job for path, job in jobs.items() if not is_there(job)}
    for path, job in missing.items():
        announce(f"{HubRef(repo.id, path)}, {size(job.file_bytes)}")
    check_space(list(missing.values()))
    for job in missing.values():
        fetch(job, report, read_header, waits_seconds)
    return next(iter(jobs.values())).target


def _job(repo: HubRepo, file: HubFile) -> Job:
    # Through parse_hub, because a server chose this name: it must not lead out of the models folder.
    ref = parse_hub(str(HubRef(repo.id, file.path)))
    target = ref.folder.joinpath(*ref.file.split("/"))
    return Job(repo.id, hub.file_url(repo, file.path), file.file_bytes, file.sha256, target)
