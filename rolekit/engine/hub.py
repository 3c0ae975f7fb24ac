"""What the Hugging Face hub says about a repository: its GGUF files, sizes, checksums; and its errors in plain words.

huggingface-hub asks, and knows about HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. The transfer itself is ours
(rolekit.engine.transfer): its own starts from zero after every interruption since 1.x.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from rolekit.engine.references import HubRef, quantization_of, shard_names
from rolekit.errors import RolekitError
from rolekit.text import one_line, size

TIMEOUT_SECONDS = 20.0
PREFERRED = "Q4_K_M"
_NOT_A_CHAT_MODEL = re.compile(r"(^|[._-])(mmproj|imatrix)([._-]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; sha256 is empty where the listing does not give it."""

    path: str
    file_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit: its GGUF models."""

    id: str
    commit: str
    files: tuple[HubFile, ...]


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, else the public one."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def look_up(repo: str) -> HubRepo:
    """The repository's GGUF files at its newest commit.

    Raises RolekitError when it does not exist, needs a licence accepted first, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with plain_errors(repo):
        info = HfApi(endpoint=endpoint(), library_name="rolekit").model_info(
            repo, files_metadata=True, timeout=TIMEOUT_SECONDS
        )
    files = tuple(
        HubFile(sibling.rfilename, sibling.size or 0, sibling.lfs.sha256 if sibling.lfs else "")
        for sibling in info.siblings or ()
        if sibling.rfilename.lower().endswith(".gguf")
    )
    return HubRepo(repo, info.sha or "main", files)


def choose(repo: HubRepo, file: str) -> tuple[HubFile, ...]:
    """The files to fetch, every part of a split model: the one named, else the sensible quantization (Q4_K_M).

    Raises RolekitError that lists the repository's files when the choice is the user's.
    """
    models = [found for found in repo.files if not _NOT_A_CHAT_MODEL.search(PurePosixPath(found.path).name)]
    if not models:
        raise RolekitError(
            f"{repo.id} on the hub holds no GGUF model.",
            "Look for the model's name with -GGUF at its end; `rolekit models list` recommends some.",
        )
    if file:
        return _parts(repo, _named(repo, models, file))
    firsts = [found for found in models if found.path == shard_names(found.path)[0]]
    preferred = [found for found in firsts if quantization_of(found.path) == PREFERRED]
    if len(firsts) == 1 or len(preferred) == 1:
        return _parts(repo, (preferred or firsts)[0].path)
    raise RolekitError(
        f"{repo.id} has {len(firsts)} models and none is the one usual choice ({PREFERRED}).",
        f"Name one of them:\n{_listing(repo, firsts or models)}",
    )


def complete(repo: HubRepo, file: HubFile) -> HubFile:
    """The file with its size and sha256; asked for once more where the listing left them out.

    Raises RolekitError when the hub gives no checksum: what cannot be checked is not fetched.
    """
    if file.sha256 and file.file_bytes:
        return file
    from huggingface_hub import get_hf_file_metadata

    with plain_errors(repo.id):
        found = get_hf_file_metadata(
            file_url(repo, file.path), timeout=TIMEOUT_SECONDS, endpoint=endpoint(), library_name="rolekit"
        )
    if not re.fullmatch(r"[0-9a-f]{64}", found.etag or "") or not found.size:
        raise RolekitError(
            f"The hub gives no checksum for {file.path}, so a download could not be checked.",
            "Use the public hub (unset HF_ENDPOINT), or download the file yourself and give its path.",
        )
    return HubFile(file.path, found.size, found.etag or "")


def file_url(repo: HubRepo, path: str) -> str:
    """Where the file's bytes are, at the commit that was looked up."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repo.id, path, revision=repo.commit, endpoint=endpoint())


def request_headers() -> dict[str, str]:
    """User agent, and the user's hub token where there is one."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers: dict[str, str] = build_hf_headers(library_name="rolekit")
    return headers


@contextmanager
def plain_errors(repo: str) -> Iterator[None]:
    """Turns what huggingface-hub and the network raise inside the block into RolekitError."""
    from huggingface_hub import errors

    # The exception base of whichever HTTP library huggingface-hub is built on.
    transport: type[Exception] = vars(errors)["HTTPError"]
    try:
        yield
    except errors.GatedRepoError as error:
        raise gated(repo) from error
    except errors.RepositoryNotFoundError as error:
        raise RolekitError(
            f"There is no repository {repo} on the hub, or it is private.",
            "Check the name; for a private one set HF_TOKEN or run `hf auth login`.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise refused(repo, error.response.status_code if error.response is not None else 0) from error
    except errors.HFValidationError as error:
        raise RolekitError(f"{one_line(repo)!r} is no repository name.", "Write hf:owner/repo.") from error
    except errors.OfflineModeIsEnabled as error:
        raise RolekitError(
            "HF_HUB_OFFLINE is set, so nothing is fetched.", "Unset it and try again."
        ) from error
    except (transport, OSError) as error:
        raise unreachable(error) from error
    except (
        ValueError,
        KeyError,
        TypeError,
    ) as error:  # A login page of the network, or another kind of server.
        raise RolekitError(
            f"What answers at {endpoint()} is not a model hub.",
            "Check the network's login page, or HF_ENDPOINT.",
        ) from error


def gated(repo: str) -> RolekitError:
    """The repository wants its licence accepted."""
    return RolekitError(
        f"{repo} is given only to people who accepted its licence on the hub.",
        f"Accept it at {endpoint()}/{repo}, then set HF_TOKEN or run `hf auth login`.",
    )


def refused(repo: str, status: int) -> RolekitError:
    """The hub answered, with an error status."""
    if status in (401, 403):
        return RolekitError(
            f"The hub did not let us read {repo} ({status}): it is private, or there is no such repository.",
            "Check the name and HF_TOKEN, or run `hf auth login`.",
        )
    if status == 404:
        return RolekitError(f"{repo} or the file in it is not on the hub (404).", "Check the name.")
    if status == 429:
        return RolekitError(
            "The hub asks us to slow down (429).", "Run the same command again in a few minutes."
        )
    return RolekitError(f"The hub answered with an error ({status}).", "Run the same command again later.")


def unreachable(error: BaseException) -> RolekitError:
    """No answer at all."""
    return RolekitError(
        f"The hub at {endpoint()} cannot be reached ({one_line(str(error) or type(error).__name__)}).",
        "Check the network; the starter model and everything already fetched work without it.",
    )


def _named(repo: HubRepo, models: list[HubFile], file: str) -> str:
    paths = [found.path for found in models]
    if file in paths:
        return file
    same = [path for path in paths if path.lower() == file.lower() or PurePosixPath(path).name == file]
    if len(same) == 1:
        return same[0]
    raise RolekitError(f"{repo.id} has no file {file}.", f"It has:\n{_listing(repo, models)}")


def _parts(repo: HubRepo, path: str) -> tuple[HubFile, ...]:
    there = {found.path: found for found in repo.files}
    names = shard_names(path)
    missing = [name for name in names if name not in there]
    if missing:
        raise RolekitError(
            f"{path} is split into {len(names)} parts, and {len(missing)} of them are not in {repo.id}.",
            "Choose another file of it, or another repository.",
        )
    return tuple(there[name] for name in names)


def _listing(repo: HubRepo, files: list[HubFile]) -> str:
    width = max((len(str(HubRef(repo.id, found.path))) for found in files), default=0)
    lines = [
        f"  {HubRef(repo.id, found.path)!s:{width}}  {size(_total(repo, found)):>9}"
        for found in sorted(files, key=lambda found: _total(repo, found))
    ]
    return "\n".join(lines)


def _total(repo: HubRepo, file: HubFile) -> int:
    names = set(shard_names(file.path))
    return sum(found.file_bytes for found in repo.files if found.path in names)
