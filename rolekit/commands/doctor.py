"""`rolekit doctor`: what this machine can do, what is missing, and the line that brings it."""

from __future__ import annotations

import json
import locale
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Literal

import typer

from rolekit.commands.common_options import JsonLines
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, home
from rolekit.text import one_line, sanitize, size

Status = Literal["ok", "note", "missing", "broken"]

MARKS: dict[Status, str] = {"ok": "ok", "note": "note", "missing": "missing", "broken": "BROKEN"}
TRAIN_PACKAGES = ("torch", "transformers", "peft", "safetensors", "gguf", "rouge_score")
LOW_DISK_BYTES = 2 << 30
_PROBE_BYTES = 256 << 10
"""What opening the chats takes at least; a full disk still makes empty files."""
_COLOURLESS = ("dumb",) if sys.platform == "win32" else ("dumb", "")

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. needed: without it nobody can chat."""

    name: str
    status: Status
    detail: str
    fix: str = ""
    needed: bool = False


@app.command()
def doctor(
    as_json: JsonLines = False,
) -> None:
    """Say what this machine can do and what is missing. Exits 1 only when chatting is impossible."""
    checks = examine()
    for check in checks:
        if as_json:
            print(json.dumps(asdict(check), ensure_ascii=False))
            continue
        print(f"{MARKS[check.status]:<8}{check.name:<14}{sanitize(check.detail)}")
        if check.fix:
            print(f"{'':<22}-> {sanitize(check.fix)}")
    broken = [check.name for check in checks if check.needed and check.status not in ("ok", "note")]
    if not as_json:
        print()
        print(
            f"You cannot chat yet: see {', '.join(broken)} above."
            if broken
            else "You can chat: rolekit chat --role Sherlock"
        )
    if broken:
        raise typer.Exit(1)


def examine() -> list[Check]:
    """Everything there is to know, in the order a person would ask."""
    looks: tuple[Callable[[], Check], ...] = (
        _python,
        _processor,
        _memory,
        _home,
        _disk,
        _settings,
        _llama,
        _starter,
        _model,
        _database,
        _training,
        _mlx,
        _terminal,
    )
    return [
        *(look() for look in looks),
        Check("network", "ok", "not needed: only `rolekit models pull` uses it"),
    ]


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _processor() -> Check:
    from rolekit.engine.threads import physical_cores

    cores = physical_cores()
    return Check(
        "processor",
        "ok",
        f"{os.cpu_count() or 1} logical CPUs, {cores} thread{'s' * (cores != 1)} for the model",
    )


def _memory() -> Check:
    from rolekit.engine.catalog import recommended
    from rolekit.engine.machine import available_memory_bytes, memory_bytes

    total, free = memory_bytes(), available_memory_bytes()
    if not total:
        return Check("memory", "note", "the system does not say how much there is")
    # A machine sold with 8 GB reports a little less.
    fitting = [model for model in recommended() if model.machine_gb * 0.9e9 <= total]
    best = f"; models like {fitting[-1].name} fit" if fitting else "; the starter model fits"
    return Check("memory", "ok", f"{size(total)}" + (f", {size(free)} available" if free else "") + best)


def _home() -> Check:
    try:
        with tempfile.NamedTemporaryFile(dir=ensure_dir(home()), prefix=".doctor-") as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except RolekitError as error:
        return Check("home", "broken", error.what_happened, error.what_to_do, needed=True)
    except OSError as error:
        fix = "Free some disk space, or set ROLEKIT_HOME to another folder"
        return Check("home", "broken", f"{home()}: {error.strerror or error}", fix, needed=True)
    return Check("home", "ok", f"{home()}, writable", needed=True)


def _disk() -> Check:
    folder = home()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LOW_DISK_BYTES:
        return Check(
            "disk", "note", f"{size(free)} free, little for models", "Set ROLEKIT_HOME to a larger disk"
        )
    return Check("disk", "ok", f"{size(free)} free for models and chats")


def _settings() -> Check:
    from rolekit.config import load_config
    from rolekit.engine.presets import load_preset

    try:
        load_preset(load_config().preset)
    except RolekitError as error:
        return Check("settings", "broken", error.what_happened, error.what_to_do, needed=True)
    return Check("settings", "ok", "read", needed=True)


def _llama() -> Check:
    fix = "pip install --force-reinstall --no-cache-dir llama-cpp-python (needs a C and C++ compiler)"
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        return Check(
            "llama.cpp", "broken", f"llama-cpp-python does not load: {one_line(str(error))}", fix, needed=True
        )
    place = "with GPU offload" if llama_cpp.llama_supports_gpu_offload() else "on the CPU"
    features = [
        name.strip().split()[-1]
        for name, _, value in (
            part.partition("=") for part in llama_cpp.llama_print_system_info().decode().split("|")
        )
        if value.strip() == "1"
    ]
    vectors = [name for name in ("AVX512", "AVX2", "AVX", "NEON", "METAL", "CUDA") if name in features]
    detail = f"llama-cpp-python {llama_cpp.__version__}, {place}" + (f" ({vectors[0]})" if vectors else "")
    return Check("llama.cpp", "ok", detail, needed=True)


def _starter() -> Check:
    from rolekit.engine import starter

    if starter.find_starter() is None:
        return Check("starter", "missing", "the starter model is not installed", starter.INSTALL)
    try:
        path = starter.starter_path()
    except RolekitError as error:
        return Check("starter", "broken", error.what_happened, error.what_to_do)
    return Check("starter", "ok", f"{path.name}, checksum right")


def _model() -> Check:
    from rolekit.config import load_config
    from rolekit.engine.inspect import inspect
    from rolekit.engine.references import resolve

    try:
        config = load_config()
        facts = inspect(resolve(None), config.context_tokens)
    except RolekitError as error:
        return Check("model", "broken", error.what_happened, error.what_to_do, needed=True)
    from rolekit.engine.machine import memory_bytes

    need, total = facts.footprint.total_bytes, memory_bytes()
    detail = (
        f"{config.model or 'starter'}: {facts.name}, {size(need)} at {facts.footprint.context_tokens} tokens"
    )
    if total and need > total:
        fix = "Choose a smaller one: rolekit models list"
        return Check("model", "note", f"{detail}, more than this machine's memory", fix, needed=True)
    return Check("model", "ok", detail, needed=True)


def _database() -> Check:
    import sqlite3

    with sqlite3.connect(":memory:") as database:
        options = {row[0] for row in database.execute("PRAGMA compile_options")}
    database.close()
    if "ENABLE_FTS5" not in options:
        fix = "Use a Python whose SQLite has FTS5 (python.org's and the distributions' have)"
        return Check("database", "broken", f"SQLite {sqlite3.sqlite_version} without FTS5", fix, needed=True)
    return Check("database", "ok", f"SQLite {sqlite3.sqlite_version} with full-text search", needed=True)


def _training() -> Check:
    missing = list(_missing(TRAIN_PACKAGES))
    if missing:
        return Check(
            "train",
            "missing",
            f"training and conversion need {', '.join(missing)}",
            "pip install 'rolekit[train]'",
        )
    return Check("train", "ok", f"torch {metadata.version('torch')}, for training and conversion")


def _mlx() -> Check:
    if not list(_missing(("mlx", "mlx_lm"))):
        return Check("mlx", "ok", f"mlx-lm {metadata.version('mlx-lm')}")
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    detail = "would train faster on this Mac" if apple else "only of use on Apple silicon"
    return Check("mlx", "missing" if apple else "note", detail, "pip install 'rolekit[mlx]'" if apple else "")


def _terminal() -> Check:
    columns, lines = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or locale.getpreferredencoding(False)).lower().replace("-", "")
    detail = f"{columns}x{lines}, {_colours()}, {'UTF-8' if encoding == 'utf8' else encoding}"
    if encoding != "utf8":
        return Check(
            "terminal", "note", detail, "Set LANG=C.UTF-8 (or another UTF-8 locale) to see every script"
        )
    if not sys.stdout.isatty():
        return Check("terminal", "ok", f"{detail}; the output goes to a pipe or file now")
    if columns < 80 or lines < 24:
        return Check(
            "terminal", "note", detail, "The app is made for 80x24 or more; --plain works in any size"
        )
    return Check("terminal", "ok", detail)


def _colours() -> str:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in _COLOURLESS:
        return "no colour"
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "16 million colours"
    return "256 colours" if "256" in os.environ.get("TERM", "") else "16 colours"


def _missing(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        if find_spec(package) is None:
            yield package
