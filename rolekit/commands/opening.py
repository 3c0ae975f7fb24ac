"""Turning command line options into the parts a chat is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rolekit.chat.options import ChatOptions
from rolekit.config import Config
from rolekit.endpoints.address import is_endpoint
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.paths import expanded
from rolekit.text import one_line


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model answers, and how it is loaded. None and 0 leave the choice to config.toml and the machine."""

    model: str | None = None
    adapters: tuple[str, ...] = ()
    """PATH or PATH:SCALE each."""
    context_tokens: int = 0
    threads: int = 0
    chat_template: str | None = None


def open_backend_aside(choice: ModelChoice, config: Config) -> Backend:
    """open_backend in a thread of its own, so that Ctrl+C is not lost in a callback of llama.cpp's loader."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(open_backend, choice, config).result()


def open_backend(choice: ModelChoice, config: Config) -> Backend:
    """The loaded model; takes seconds. Raises RolekitError where it cannot be had."""
    if is_endpoint(ref := choice.model or config.model):
        return _open_endpoint(ref, choice)
    from rolekit.engine.references import parse_adapter, resolve

    adapters = [parse_adapter(text) for text in choice.adapters]
    path = resolve(choice.model)
    from rolekit.engine.backend import open_local

    return open_local(
        path,
        adapters=adapters,
        context_tokens=choice.context_tokens or config.context_tokens,
        threads=choice.threads or config.threads,
        chat_template=choice.chat_template,
        kv_cache_mib=config.kv_cache_mib,
    )


def _open_endpoint(ref: str, choice: ModelChoice) -> Backend:
    if choice.adapters or choice.chat_template:
        option = "--adapter" if choice.adapters else "--chat-template"
        raise RolekitError(
            f"{option} works on models in this process, and {one_line(ref)} runs on a server.",
            "Leave it out, or let the server load it.",
        )
    from rolekit.endpoints.backend import open_endpoint

    return open_endpoint(ref, context_tokens=choice.context_tokens)


OwnAdapter = tuple[str, str]
"""Whose adapter it is, and PATH or PATH:SCALE."""


def split_adapters(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[OwnAdapter, ...]]:
    """The adapters of --adapter that are for everybody, and those that name a role (`ROLE=PATH[:SCALE]`)."""
    common: list[str] = []
    own: list[OwnAdapter] = []
    for text in texts:
        name, equals, path = text.partition("=")
        if equals and os.sep not in name and not os.path.isfile(expanded(text)):
            own.append((name, path))
        else:
            common.append(text)
    return tuple(common), tuple(own)


def chat_options(
    config: Config,
    *,
    user: str | None,
    preset: str | None,
    seed: int | None,
    max_tokens: int,
    persona: str | None = None,
    guard: bool = True,
    memory: bool = True,
    moderation: str | None = None,
) -> ChatOptions:
    """The options of a chat: what was typed, else what config.toml says."""
    from rolekit.chat.moderation import load_moderation
    from rolekit.chat.personas import find_persona
    from rolekit.chat.state import Persona
    from rolekit.engine.presets import load_preset

    rules = config.moderation if moderation is None else moderation
    loaded = load_moderation(expanded(rules)) if rules and rules != "off" else None
    somebody = find_persona(persona) if persona else Persona()
    return ChatOptions(
        user or config.user,
        load_preset(preset or config.preset),
        seed,
        max_tokens,
        somebody,
        guard,
        memory,
        loaded,
    )


def quiet_broken_pipe() -> None:
    """Point stdout at nothing after its reader went away, so that Python's exit does not complain."""
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def lines_of(texts: Sequence[str]) -> list[str]:
    """The messages of repeated --say options, blank ones refused."""
    if any(not text.strip() for text in texts):
        raise RolekitError(
            "--say was given an empty message.", "Write what you want to say: --say 'Good evening'."
        )
    return list(texts)
