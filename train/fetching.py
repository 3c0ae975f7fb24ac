"""A base model from the hub: the safetensors weights, the configuration and the tokenizer, nothing that is code."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rolekit.engine import hub
from rolekit.engine.hub import HubRepo
from rolekit.engine.references import parse_hub
from rolekit.engine.transfer import WAITS_SECONDS, Job, Report, check_space, fetch, is_there
from rolekit.errors import RolekitError
from rolekit.text import size

_WANTED = re.compile(
    r"(?!consolidated|adapter_)[\w.-]+\.safetensors|[\w.-]+\.safetensors\.index\.json|config\.json|generation_config\.json"
    r"|tokenizer[\w.-]*\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|chat_template\.(?:jinja|json)"
    r"|vocab\.json|merges\.txt|README\.md|LICENSE[\w.-]*",
)
_PICKLED = re.compile(r".*\.(?:bin|pt|pth|ckpt)")


def fetch_base(
    ref: str,
    report: Report = lambda name, done, total: None,
    announce: Callable[[str], None] = lambda text: None,
    waits_seconds: Sequence[float] = WAITS_SECONDS,
) -> Path:
    """The folder of `hf:owner/repo`, fetched where it is not there yet; run again after an interruption it goes on.

    Raises RolekitError when the repository has no safetensors weights, or the hub, the network or the disk is at
    fault.
    """
    wanted = parse_hub(ref)
    repo, files = _look_up(wanted.repo)
    jobs = [
        Job(repo.id, hub.file_url(repo, name), file_bytes, checksum, wanted.folder / name)
        for name, file_bytes, checksum in files
    ]
    missing = [job for job in jobs if not is_there(job)]
    if missing:
        announce(f"fetching {repo.id}, {size(sum(job.file_bytes for job in missing))}")
    check_space(missing)
    for job in missing:
        fetch(job, report, waits_seconds=waits_seconds)
    return wanted.folder


def _look_up(name: str) -> tuple[HubRepo, list[tuple[str, int, str]]]:
    """The repository, and the wanted files with size and checksum, config.json last: where it is, all are."""
    from huggingface_hub import HfApi

    with hub.plain_errors(name):
        info = HfApi(endpoint=hub.endpoint(), library_name="rolekit").model_info(
            name, files_metadata=True, timeout=hub.TIMEOUT_SECONDS
        )
        listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    repo = HubRepo(name, info.sha or "main", ())
    if not any(_WANTED.fullmatch(file) and file.endswith(".safetensors") for file in listed):
        pickled = any(_PICKLED.fullmatch(file) for file in listed)
        raise RolekitError(
            f"{name} on the hub has no safetensors weights"
            + (", only pickled ones, which can run code of their maker." if pickled else "."),
            "Choose a repository that has *.safetensors files; one with GGUF files: `rolekit models pull`.",
        )
    found = []
    for file, sibling in sorted(listed.items(), key=lambda item: (item[0] == "config.json", item[0])):
        if not _WANTED.fullmatch(file):
            continue
        checksum = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if not checksum or not sibling.size:
            raise RolekitError(
                f"The hub gives no checksum for {file}, so a download could not be checked.",
                "Use the public hub (unset HF_ENDPOINT), or fetch the folder yourself and name it.",
            )
        found.append((file, sibling.size, checksum))
    return repo, found
