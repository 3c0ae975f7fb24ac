"""Which texts an importance matrix is computed on: role conversations as the model will read them, or plain text."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rolekit.convert.activations import CHUNK_TOKENS, Collector
from rolekit.convert.conversations import Conversation, bundled_conversations, read_conversations
from rolekit.convert.imatrix import ImportanceMatrix, write_imatrix
from rolekit.convert.job import Job, Progress
from rolekit.engine.gguf_header import read_header
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.errors import RolekitError
from rolekit.text import one_line

MOST_CONVERSATIONS = 400
"""More hardly change the means; a thousand tokens a second make these some minutes for a 1B model."""
_KEY = "rolekit.calibration"
_RECIPE = "recipe.toml"
_MAX_RECIPE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Texts:
    """What to calibrate with."""

    conversations: tuple[Conversation, ...] = ()
    plain: str = ""
    """Text without a template, cut into chunks as llama-imatrix cuts it; the conversations come first."""
    source: str = ""
    """Where they come from, for people and for the file."""
    skipped: int = 0
    """Lines that held no conversation."""


def calibrate(
    model: Path,
    texts: Texts,
    adapters: Sequence[tuple[Path, float]] = (),
    *,
    threads: int = 0,
    progress: Progress = lambda _what, _done, _total: None,
) -> ImportanceMatrix:
    """The importance matrix of a GGUF model, with adapters on top or without, on these texts.

    Raises RolekitError when llama.cpp cannot load the model, it has no chat template, or no text is long enough.
    """
    with Collector(model, adapters, threads=threads) as collector:
        for number, ids in enumerate(sequences := _sequences(collector, texts)):
            progress("calibrating", number, len(sequences))
            collector.add(ids)
        progress("calibrating", len(sequences), len(sequences))
        return collector.matrix([texts.source] if texts.source else [])


def calibrate_job(
    job: Job, texts: Texts, progress: Progress = lambda _what, _done, _total: None
) -> ImportanceMatrix:
    """The importance matrix of what a job will make: its base, its adapter merged.

    A GGUF base without an adapter is read as it is. Otherwise an 8-bit file is written beside the output, and is gone
    when this returns. Raises RolekitError like calibrate and convert.
    """
    from rolekit.convert.conversion import convert

    if job.base.is_file() and job.adapter is None:
        return calibrate(job.base, texts, threads=job.threads, progress=progress)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{job.out.name}.imatrix.", dir=job.out.parent) as folder:
        whole = replace(
            job, out=Path(folder) / "model.gguf", type_name="Q8_0", imatrix=None, plan=None, split_bytes=0
        )
        produced = convert(whole, progress=progress)
        return calibrate(produced.parts[0], texts, threads=job.threads, progress=progress)


def auto_imatrix(job: Job, texts: Texts, progress: Progress = lambda _what, _done, _total: None) -> Path:
    """The importance matrix for a job, kept beside its output (NAME.imatrix.gguf): made now, or by an earlier run of
    the same job on the same texts.

    Raises RolekitError like calibrate_job.
    """
    path = job.out.with_suffix(".imatrix.gguf")
    key = _key(job, texts)
    if not (path.is_file() and read_header(path).text(_KEY) == key):
        write_imatrix(calibrate_job(job, texts, progress), path, {_KEY: key})
    return path


def files_of(job: Job) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files that decide a job's weights."""
    files = [
        file
        for place in (job.base, job.adapter, job.imatrix)
        if place is not None
        for file in (sorted(place.iterdir()) if place.is_dir() else [place])
        if file.suffix in (".gguf", ".safetensors", ".json") and file.is_file()
    ]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _key(job: Job, texts: Texts) -> str:
    """Differs when the matrix would: the files of base and adapter, and the texts."""
    return hashlib.sha256(repr((files_of(job), texts)).encode()).hexdigest()


def texts_for(
    data: Sequence[Path], adapter: Path | None, role: str, limit: int = MOST_CONVERSATIONS
) -> Texts:
    """The user's data; else what the adapter's recipe says it was trained on; else the bundled roles.

    A .jsonl holds conversations, any other file plain text. Raises RolekitError when a file cannot be read or is empty.
    """
    trained_on = [] if data else training_data(adapter)
    files = [*(data or trained_on)]
    if not files:
        talks = bundled_conversations(min(limit, 200), role)
        return Texts(tuple(talks), source="the bundled roles")
    talks, plain, skipped = list[Conversation](), list[str](), 0
    for file in files:
        if file.suffix.lower() in (".jsonl", ".json"):
            found, left_out = read_conversations(file, max(1, limit // len(files)), role)
            talks += found
            skipped += left_out
        else:
            plain.append(_plain(file))
    source = ", ".join(one_line(file.name, 80) for file in files)
    return Texts(tuple(talks), "\n".join(plain), source, skipped)


def training_data(adapter: Path | None) -> list[Path]:
    """The files of conversations that an adapter's recipe names and that are still there."""
    if adapter is None:
        return []
    for folder in (adapter, adapter.parent):
        path = folder / _RECIPE
        if path.is_file() and path.stat().st_size < _MAX_RECIPE_BYTES:
            return [file for file in _sources(path) if file.is_file()]
    return []


def _sources(recipe: Path) -> list[Path]:
    try:
        table = tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []  # whose recipe cannot be read is calibrated on the bundled roles, and is told so
    data = table.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    names = (
        [entry.get("path") for entry in sources if isinstance(entry, dict)]
        if isinstance(sources, list)
        else []
    )
    # A recipe from the command line names files from where the training was started.
    return [
        next((file for file in (recipe.parent / name, Path(name)) if file.is_file()), Path(name))
        for name in names
        if isinstance(name, str) and name
    ]


def _plain(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RolekitError(
            f"{file} could not be read ({reason}).", "Give a .jsonl or a text file."
        ) from error
    if not text.strip():
        raise RolekitError(f"{file} is empty.", "Give a text to calibrate with.")
    return text


def _sequences(collector: Collector, texts: Texts) -> list[list[int]]:
    """Token ids of every conversation, and of the plain text chunk by chunk."""
    vocabulary = collector.vocabulary
    found: list[list[int]] = []
    if texts.conversations:
        prompter = Prompter(load_template(None, collector.model.header), vocabulary)
        for talk in texts.conversations:
            prompt = prompter.build(talk.prompt)
            found.append([*prompt.ids, *prompter.reply_ids(talk.reply, prompt), *prompter.end_ids])
    if texts.plain:
        found += _chunks(collector, texts.plain)
    return found


def _chunks(collector: Collector, text: str) -> list[list[int]]:
    """As llama-imatrix cuts a text: whole chunks, the first token of each one the beginning-of-text token."""
    vocabulary = collector.vocabulary
    head = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
    ids = [*head, *vocabulary.tokenize(text, special=False, first=True)]
    whole = range(0, len(ids) - CHUNK_TOKENS + 1, CHUNK_TOKENS) if len(ids) >= CHUNK_TOKENS else range(1)
    return [[*head, *ids[start + len(head) : start + CHUNK_TOKENS]] for start in whole]
