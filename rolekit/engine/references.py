"""REF, the way a user names a model, and the file it stands for; and the same for adapters."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rolekit.config import load_config
from rolekit.engine.starter import starter_path
from rolekit.errors import RolekitError
from rolekit.paths import expanded, models_dir
from rolekit.text import one_line

_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_HUB_URL = re.compile(r"https?://[^/]+/([^/]+/[^/]+)(?:/(?:blob|resolve)/[^/]+/(.+?))?/?(?:\?.*)?")
_QUANTIZATION = re.compile(
    r"(?<![A-Za-z0-9])(I?Q[1-8](?:_(?:0|1|K|S|M|L|XS|XXS|XL|NL))*|TQ[12]_0|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository on the hub, and the file in it where one was named."""

    repo: str
    file: str = ""

    def __str__(self) -> str:
        """As the user writes it: hf:owner/repo[/file.gguf]."""
        return f"hf:{self.repo}/{self.file}" if self.file else f"hf:{self.repo}"

    @property
    def folder(self) -> Path:
        """Where this repository's files are kept."""
        return models_dir().joinpath(*self.repo.split("/"))


def parse_hub(ref: str) -> HubRef:
    """The parts of `hf:owner/repo[/file.gguf]`; the address of a hub page is understood too.

    Raises RolekitError for anything that could not be one, or would leave the models folder.
    """
    url = _HUB_URL.fullmatch(ref)
    body = "/".join(part for part in url.groups() if part) if url else ref.removeprefix("hf:")
    owner, _, rest = body.partition("/")
    repo, _, file = rest.partition("/")
    steps = PurePosixPath(file).parts
    sound = all(_HUB_NAME.fullmatch(name) for name in (owner, repo)) and not any(
        step.startswith(".") or not step.isprintable() or any(letter in step for letter in '\\:*?"<>|')
        for step in steps
    )
    if not sound or file.startswith("/") or (file and not file.lower().endswith(".gguf")):
        raise RolekitError(
            f"{one_line(ref)!r} does not name a model on the hub.",
            "Write hf:owner/repo or hf:owner/repo/file.gguf, as in hf:Qwen/Qwen3-4B-GGUF.",
        )
    return HubRef(f"{owner}/{repo}", "/".join(steps))


def quantization_of(name: str) -> str:
    """The quantization a file's name speaks of (`Q4_K_M`); empty where it does not."""
    found = _QUANTIZATION.findall(PurePosixPath(name).name)
    return found[-1].upper().replace("FP", "F") if found else ""


def shard_names(name: str) -> tuple[str, ...]:
    """All files of the split model that name is a part of; name alone where it is not split."""
    match = _SHARD.search(name)
    if match is None:
        return (name,)
    stem, total = name[: match.start()], int(match[2])
    return tuple(f"{stem}-{part:05d}-of-{total:05d}.gguf" for part in range(1, total + 1))


def resolve(ref: str | None) -> Path:
    """The GGUF file that ref names; without one the model of config.toml, else the starter.

    Raises RolekitError, with the command that fetches it, when it is not on this machine.
    """
    ref = (ref or load_config().model or "starter").strip()
    if ref == "starter":
        return starter_path()
    if ref.startswith("openai:"):
        raise RolekitError(
            f"{one_line(ref)!r} runs on a server, and a model file on this machine is needed here.",
            "Choose one: `rolekit models list`.",
        )
    if ref.startswith(("hf:", "https://", "http://")):
        return _pulled(parse_hub(ref))
    path = expanded(ref)
    if os.path.isfile(path):
        return _first_shard(path)
    if os.path.isdir(path):
        raise _folder(path)
    return _by_name(ref, path)


def pulled_files() -> list[Path]:
    """Every model in the models folder, a split one as its first file; sorted."""
    return sorted(
        path
        for path in models_dir().rglob("*.gguf")
        if path.is_file() and path.name == shard_names(path.name)[0]
    )


def ref_of(path: Path) -> str:
    """How a file in the models folder is named on the command line."""
    try:
        parts = path.relative_to(models_dir()).parts
    except ValueError:
        return str(path)
    return f"hf:{'/'.join(parts)}" if len(parts) >= 3 else path.stem


def _first_shard(path: Path) -> Path:
    names = shard_names(path.name)
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        raise RolekitError(
            f"{path.name} is one of {len(names)} parts, and {one_line(', '.join(missing), 200)} is missing.",
            "Put all the parts into one folder.",
        )
    return path.with_name(names[0])


def _pulled(ref: HubRef) -> Path:
    if ref.file:
        path = ref.folder.joinpath(*ref.file.split("/"))
        if path.is_file():
            return _first_shard(path)
        raise RolekitError(f"{ref} is not on this machine.", f"Fetch it: rolekit models pull {ref}")
    files = [path for path in pulled_files() if path.is_relative_to(ref.folder)]
    if not files:
        raise RolekitError(f"{ref} is not on this machine.", f"Fetch it: rolekit models pull {ref}")
    preferred = [path for path in files if quantization_of(path.name) == "Q4_K_M"]
    if len(files) > 1 and len(preferred) != 1:
        raise _several(str(ref), files)
    return _first_shard((preferred if len(files) > 1 else files)[0])


def _folder(path: Path) -> RolekitError:
    inside = sorted(path.glob("*.gguf"))
    if inside:
        return RolekitError(
            f"{path} is a folder with {len(inside)} GGUF files.", f"Name one of them: {inside[0]}"
        )
    if any(path.glob("*.safetensors")) or (path / "config.json").is_file():
        return RolekitError(
            f"{path} is a Hugging Face folder, which has to be converted before it can chat.",
            f"Make a .gguf of it, and name that file: rolekit convert {path} --out FILE.gguf",
        )
    return RolekitError(f"{path} is a folder without a model.", "Name a .gguf file.")


def _by_name(ref: str, path: Path) -> Path:
    files = pulled_files()
    found = _matches(ref, files)
    if len(found) == 1:
        return _first_shard(found[0])
    if found:
        raise _several(ref, found)
    if path.suffix.lower() == ".gguf" or "/" in ref or "\\" in ref:
        beside = [file.name for file in path.parent.glob("*.gguf")] if os.path.isdir(path.parent) else []
        advice = f"Did you mean {path.with_name(near)}?" if (near := _nearest(path.name, beside)) else ""
        if not advice and re.fullmatch(r"[\w.-]+/[\w.-]+(/.+\.gguf)?", ref):
            advice = f"If it is a repository on the hub: rolekit models pull hf:{ref}"
        raise RolekitError(f"There is no model at {path}.", advice or "See `rolekit models list`.")
    near = _nearest(ref, [ref_of(file) for file in files] + ["starter"])
    raise RolekitError(
        f"There is no model called {one_line(ref)!r}.",
        f"Did you mean {near}?" if near else "See `rolekit models list`.",
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower().removesuffix(".gguf"))


def _matches(ref: str, files: Iterable[Path]) -> list[Path]:
    wanted = _plain(ref)
    files = list(files)
    if not wanted:
        return []
    exact = [path for path in files if wanted in (_plain(path.name), _plain(path.parent.name))]
    return exact or [path for path in files if wanted in _plain(ref_of(path))]


def _nearest(word: str, names: list[str]) -> str:
    from rapidfuzz import fuzz, process

    plain = {name: _plain(name) for name in names}
    found = process.extractOne(_plain(word), plain, scorer=fuzz.partial_ratio, score_cutoff=70)
    return str(found[2]) if found else ""


def _several(ref: str, files: list[Path]) -> RolekitError:
    names = "\n".join(f"  {ref_of(path)}" for path in files)
    return RolekitError(f"{one_line(ref)!r} could be {len(files)} models.", f"Name one of them:\n{names}")


def parse_adapter(text: str) -> tuple[Path, float]:
    """The file and the scale of `PATH` or `PATH:SCALE`; the scale is 1 where none is given.

    Raises RolekitError when there is no such file, or the scale is no finite number.
    """
    head, colon, tail = text.rpartition(":")
    scale = 1.0
    if colon and head:
        try:
            scale, text = float(tail), head
        except ValueError:
            scale = 1.0
    if not math.isfinite(scale):
        raise RolekitError(f"An adapter cannot have the scale {tail}.", "Give a number: --adapter PATH:0.5.")
    path = expanded(text)
    if not os.path.isfile(path):
        raise RolekitError(
            f"There is no adapter at {path}.", "Give the path of a GGUF LoRA adapter: --adapter PATH[:SCALE]."
        )
    return path, scale
