"""Roles are found by whatever people call them; a broken file is shown, never a reason to stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary
from rolekit.roles.names import fold, slug_of
from rolekit.roles.role import Role

MINE = 'name = "My Holmes"\naliases = ["Sherlock Holmes"]\ndescription = "You are mine."\n'


def put(home: Path, slug: str, text: str = MINE) -> Path:
    path = home / "roles" / f"{slug}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("typed", "slug"),
    [
        ("Sherlock", "sherlock-holmes"),
        ("holmes", "sherlock-holmes"),
        ("sherlock-holmes", "sherlock-holmes"),
        ("SHERLOCK HOLMES", "sherlock-holmes"),
        ("  sherlock_holmes ", "sherlock-holmes"),
        ("SherlockHolmes", "sherlock-holmes"),
        ("Holmes, Sherlock", "sherlock-holmes"),
        ("Sherlok", "sherlock-holmes"),
        ("Shrelock Holmse", "sherlock-holmes"),
        ("sherl", "sherlock-holmes"),
        ("Ｓｈｅｒｌｏｃｋ", "sherlock-holmes"),
        ("Wukong", "sun-wukong"),
        ("孙悟空", "sun-wukong"),
        ("悟空", "sun-wukong"),
        ("Dr. Watson", "john-watson"),
        ("the count", "dracula"),
        ("nemo", "captain-nemo"),
        ("Hámlet", "hamlet"),
        ("prince dakkar", "captain-nemo"),
        ("alice", "alice"),
    ],
)
def test_lookup(typed: str, slug: str) -> None:
    assert RoleLibrary().find(typed).slug == slug


def test_several_matches_are_listed() -> None:
    with pytest.raises(RolekitError) as caught:
        RoleLibrary().find("john")
    assert "Dr John Watson (john-watson)" in str(caught.value)
    assert "Long John Silver (long-john-silver)" in str(caught.value)


def test_no_match_names_the_three_nearest() -> None:
    with pytest.raises(RolekitError) as caught:
        RoleLibrary().find("Hamlock Bones\x1b[31m")
    nearest = str(caught.value).partition("the nearest are ")[2].partition("; ")[0].partition(". See")[0]
    assert len(nearest.split(", ")) == 3
    assert "sherlock-holmes" in nearest
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("typed", ["", "  ", "?!", "\0", "x" * 10_000, "/" * 10_000, "[red]", "🎭", "q/x"])
def test_hopeless_names_are_refused_politely(typed: str) -> None:
    with pytest.raises(RolekitError, match="nearest are"):
        RoleLibrary().find(typed)


def test_a_file_can_be_named_directly(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.toml"
    path.write_text(MINE, encoding="utf-8")
    entry = RoleLibrary().find(str(path))
    assert entry.loaded().name == "My Holmes"
    assert (entry.slug, entry.bundled) == ("elsewhere", False)
    with pytest.raises(RolekitError, match="No such file"):
        RoleLibrary().find(str(tmp_path / "missing.toml")).loaded()
    for odd in ("nul\0.toml", "~nobody-of-that-name/x.toml", "x" * 5000 + ".toml"):
        with pytest.raises(RolekitError, match="cannot be read"):
            RoleLibrary().find(odd).loaded()


def test_the_users_role_wins(home: Path) -> None:
    put(home, "sherlock-holmes")
    library = RoleLibrary()
    entry = library.find("sherlock-holmes")
    assert entry.loaded().name == "My Holmes"
    assert not entry.bundled
    assert [e.slug for e in library.all()].count("sherlock-holmes") == 1


def test_the_users_role_wins_by_name_too(home: Path) -> None:
    put(home, "another")
    assert RoleLibrary().find("Sherlock Holmes").slug == "another"


def test_a_broken_role_is_an_entry_with_its_faults(home: Path) -> None:
    put(home, "broken", 'nam = "x"')
    put(home, "binary").write_bytes(b"\xff\xfe\x00")
    (home / "roles" / "folder.toml").mkdir()
    (home / "roles" / "gone.toml").symlink_to(home / "nowhere")
    os.mkfifo(home / "roles" / "pipe.toml")
    library = RoleLibrary()
    broken = {entry.slug: entry for entry in library.all() if entry.role is None}
    assert set(broken) == {"broken", "binary", "folder", "gone", "pipe"}
    assert all(entry.error and not entry.bundled for entry in broken.values())
    with pytest.raises(RolekitError, match=r'broken\.toml:1: unknown key "nam"'):
        library.find("broken").loaded()
    assert library.find("sherlock").loaded()


def test_changed_files_are_read_again_and_others_are_not(home: Path) -> None:
    path = put(home, "ada", 'name = "Ada"\ndescription = "x"')
    library = RoleLibrary()
    first = {entry.slug: entry for entry in library.all()}
    path.write_text('name = "Ada Two"\ndescription = "x"', encoding="utf-8")
    second = {entry.slug: entry for entry in library.all()}
    assert second["ada"].title == "Ada Two"
    assert second["sherlock-holmes"] is first["sherlock-holmes"]
    path.unlink()
    assert "ada" not in {entry.slug for entry in library.all()}


def test_search_as_you_type() -> None:
    library = RoleLibrary()
    assert len(library.search("")) == len(library.all())
    assert library.search("sherl")[0].slug == "sherlock-holmes"
    assert library.search("wats")[0].slug == "john-watson"
    assert {entry.role.language for entry in library.search("zh") if entry.role} >= {"zh"}
    assert {"dracula", "hamlet"} <= {entry.slug for entry in library.search("literature")}
    assert [entry.slug for entry in library.search("literature vampire")] == ["dracula"]
    assert library.search("qqqq") == []


def test_save_writes_a_file_that_loads_and_never_replaces_unasked(home: Path) -> None:
    library = RoleLibrary()
    role = Role(name="Émile Zola", description='You are "Émile".\nA writer.', facts=("a", "b"))
    path = library.save(role)
    assert path == home / "roles" / "emile-zola.toml"
    assert library.find("emile zola").loaded() == role
    with pytest.raises(RolekitError, match="already have"):
        library.save(role)
    changed = role.model_copy(update={"greeting": "Bonjour."})
    assert library.save(changed, overwrite=True) == path
    assert library.find("emile").loaded() == changed


def test_save_refuses_a_role_with_faults(home: Path) -> None:
    with pytest.raises(RolekitError, match="says the same"):
        RoleLibrary().save(Role(name="A", description="x", facts=("a", "A")))
    assert not (home / "roles").exists()


def test_an_unwritable_home_is_said_plainly(home: Path) -> None:
    home.write_text("a file, not a folder")
    with pytest.raises(RolekitError, match="cannot write"):
        RoleLibrary().save(Role(name="A", description="x"))
    assert RoleLibrary().find("sherlock").bundled


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Dr. John H. Watson", "dr-john-h-watson"),
        ("../../etc/passwd", "etc-passwd"),
        ("孙悟空", "孙悟空"),
        ("Ünïcödé", "unicode"),
        ("CON", "con-role"),
        ("///", "role"),
        ("x" * 500, "x" * 120),
        ("字" * 500, "字" * 40),
    ],
)
def test_slugs_are_safe_file_names(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def test_fold_ignores_case_accents_and_punctuation() -> None:
    assert fold("  D’Artagnan, ÉLISE  ") == "d artagnan elise"
    assert fold("Straße") == fold("STRASSE")


def test_a_role_named_by_a_sign_alone_is_found_by_it() -> None:
    path = RoleLibrary().save(Role(name="🙂", description="You are a smile.", language="en"))
    assert RoleLibrary().find("🙂").path == path
