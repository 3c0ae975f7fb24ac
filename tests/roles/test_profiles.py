"""The bundled roles: enough of them, complete, and each to be found under its own names only."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rolekit.roles.library import Entry, RoleLibrary, bundled_dir
from rolekit.roles.names import fold, slug_of
from rolekit.roles.role import Role
from rolekit.roles.toml import check_role, load_role

FILES = sorted(bundled_dir().glob("*.toml"))
NAMED_IN_THE_README = {
    "sherlock-holmes",
    "john-watson",
    "dracula",
    "captain-nemo",
    "hamlet",
    "alice",
    "sun-wukong",
}


def test_there_are_enough_and_in_several_languages() -> None:
    languages = Counter(load_role(path).language.split("-")[0] for path in FILES)
    assert sum(languages.values()) >= 16
    assert languages["zh"] >= 4
    assert set(languages) - {"en", "zh"}
    assert {path.stem for path in FILES} >= NAMED_IN_THE_README


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_role_is_complete(path: Path) -> None:
    assert check_role(path) == []
    role = load_role(path)
    assert path.stem == slug_of(path.stem)
    assert len(role.catchphrases) >= 8
    assert len(role.facts) >= 10
    assert len(role.examples) >= 10
    assert len(role.openers) >= 3
    assert role.greeting
    assert role.aliases
    assert role.tags
    assert role.origin
    assert role.sources
    assert role.language


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_role_fits_a_small_context(path: Path) -> None:
    role = load_role(path)
    assert _length(role, role.description) in range(60, 221)
    assert _length(role, role.greeting) in range(15, 111)
    assert all(_length(role, example.reply) in range(8, 111) for example in role.examples)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_role_explains_itself(path: Path) -> None:
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert len(comments) >= 3


def _length(role: Role, text: str) -> int:
    """Words, or half the characters where words are not spaced (a Chinese word has about two)."""
    return len(text) // 2 if role.language.startswith(("zh", "ja")) else len(text.split())


def test_no_two_roles_share_a_name() -> None:
    owners: dict[str, set[str]] = {}
    for entry in RoleLibrary().all():
        for name in (entry.slug, entry.loaded().name, *entry.loaded().aliases):
            owners.setdefault(fold(name), set()).add(entry.slug)
    assert {name: slugs for name, slugs in owners.items() if len(slugs) > 1} == {}


def test_every_name_finds_its_role() -> None:
    library = RoleLibrary()
    entries: list[Entry] = library.all()
    for entry in entries:
        for name in (entry.slug, entry.loaded().name, *entry.loaded().aliases):
            assert library.find(name).slug == entry.slug, name
