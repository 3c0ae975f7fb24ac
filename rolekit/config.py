"""The user's settings: config.toml, every key explained, unknown keys refused."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rolekit.errors import RolekitError
from rolekit.paths import config_file, write_text

MOST_THREADS = 512
"""GGML_MAX_N_THREADS of llama.cpp: one more and it aborts or worse."""


_MEANING = {
    "extra_forbidden": "there is no such key",
    "int_parsing": "this must be a whole number",
    "int_type": "this must be a whole number",
    "string_type": "this must be text in quotes",
}
"""pydantic's words, in ours."""


class Config(BaseModel):
    """What a person may set once instead of typing it every time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    """REF of the model to chat with; empty means the starter model."""
    user: str = "You"
    """The name that roles know the user by."""
    preset: str = "default"
    """Sampling preset, see `rolekit chat --help`."""
    theme: str = "rolekit-dark"
    """Theme of the TUI."""
    context_tokens: int = Field(default=8192, ge=256, le=1_048_576)
    """Context length; the model's own limit is never exceeded."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """CPU threads for the model; 0 means the physical cores this process may use."""
    moderation: str = ""
    """A file of moderation rules; empty, the default, moderates nothing."""
    kv_cache_mib: int = Field(default=2048, ge=0)
    """Disk budget of KV snapshots in MiB; the least recently used go first. 0 keeps none."""


def load_config(path: Path | None = None) -> Config:
    """The settings in force: the file's, or the defaults where it is absent.

    Raises RolekitError naming every fault of the file at once.
    """
    path = path or config_file()
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        if isinstance(error, OSError):
            reason = error.strerror or reason
        raise RolekitError(
            f"The settings in {path} cannot be read ({reason}).", "Correct or remove it."
        ) from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {_MEANING.get(e['type'], e['msg'])}" for e in error.errors()
        )
        keys = ", ".join(Config.model_fields)
        raise RolekitError(
            f"The settings in {path} have faults: {faults}.", f"Known keys are: {keys}."
        ) from error


def save_setting(key: str, value: str | int) -> Config:
    """The settings after key was set; comments and order of the file stay as the user wrote them."""
    import tomlkit

    path = config_file()
    current = load_config(path)
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    document[key] = value
    changed = Config.model_validate({**current.model_dump(), key: value})
    write_text(path, tomlkit.dumps(document))
    return changed
