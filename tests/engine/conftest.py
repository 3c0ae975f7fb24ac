"""llama.cpp's own templates, from the source release of the installed llama-cpp-python."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from rolekit.engine.gguf_header import GgufHeader
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import ChatTemplate, load_template, template_names
from rolekit.engine.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def template_sources(llama_cpp_source: Path) -> dict[str, str]:
    """Name to text of the chat templates that llama.cpp tests with."""
    files = sorted((llama_cpp_source / "vendor/llama.cpp/models/templates").glob("*.jinja"))
    return {file.stem: file.read_text("utf-8") for file in files}


@pytest.fixture(scope="session")
def all_templates(template_sources: dict[str, str]) -> dict[str, ChatTemplate]:
    """llama.cpp's templates and rolekit's own (`rolekit chatml`), by name."""
    empty = GgufHeader(3, {}, (), 32, 0, 0)
    own = {f"rolekit {name}": load_template(name, empty) for name in template_names()}
    return {**{name: ChatTemplate(source, name) for name, source in template_sources.items()}, **own}


@pytest.fixture(scope="session")
def prompter(
    all_templates: dict[str, ChatTemplate], vocabulary_named: Callable[[str], Vocabulary]
) -> Callable[[str, str], Prompter]:
    """The prompter of a template and a vocabulary, both by name."""

    @cache
    def made(template: str, vocabulary: str) -> Prompter:
        return Prompter(all_templates[template], vocabulary_named(vocabulary))

    return made
