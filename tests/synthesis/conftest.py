"""What the synthesis tests share: a role, a run folder with segments, and a scripted author behind a real server."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from rolekit.roles.role import Role
from rolekit.synthesis.segments import write_segments


def loaded(name: str) -> Any:
    """A module of this folder."""
    spec = importlib.util.spec_from_file_location(f"synthesis_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def author_module() -> Any:
    return loaded("author")


@pytest.fixture(scope="session")
def killing_module() -> Any:
    return loaded("killing")


@pytest.fixture
def author(api, author_module) -> Any:
    """The scripted author, answering at api.ref."""
    api.respond = author_module.Author()
    return api.respond


@pytest.fixture
def mira(author_module) -> Role:
    return author_module.MIRA


@pytest.fixture
def run_folder(tmp_path, author_module) -> Path:
    """A folder with the segments of a profile."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_segments(folder / "segments.jsonl", author_module.SEGMENTS)
    return folder


@pytest.fixture
def instructions(tmp_path, author_module) -> Path:
    """Six instructions, one with plain answers, one too long, one twice."""
    return author_module.write_instructions(tmp_path / "instructions.jsonl")
