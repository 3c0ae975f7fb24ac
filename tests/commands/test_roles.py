"""`rolekit roles`, run as the user runs it: what is printed where, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rolekit import cli
from rolekit.roles.library import RoleLibrary
from rolekit.roles.toml import load_role

Run = Callable[..., tuple[int, str, str]]
GOOD = 'name = "Ada"\ndescription = "You are Ada."\n'


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `rolekit roles ARGS`: exit code, stdout, stderr."""

    def call(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rolekit", "roles", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        output = capsys.readouterr()
        return int(stopped.value.code or 0), output.out, output.err

    return call


@pytest.fixture
def mine(home: Path) -> Callable[[str, str], Path]:
    """Put a file among the user's roles."""

    def put(slug: str, text: str) -> Path:
        path = home / "roles" / f"{slug}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return put


def test_list_shows_bundled_and_own_and_broken(run: Run, mine: Callable[[str, str], Path]) -> None:
    mine("ada", 'name = "[red]Ada[/red] 🎩"\ndescription = "x"\ntags = ["[@click=quit]"]')
    mine("broken", "name = 3")
    code, out, err = run("list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert rows["sherlock-holmes"].split()[-1] == "bundled"
    assert "[red]Ada[/red] 🎩" in rows["ada"]
    assert "[@click=quit]" in rows["ada"]
    assert rows["ada"].split()[-1] == "yours"
    assert "faulty" in rows["broken"]
    assert "1 of them cannot be used" in err


def test_list_as_json_is_one_object_a_role(run: Run, mine: Callable[[str, str], Path]) -> None:
    mine("broken", "name = 3")
    code, out, _ = run("list", "--json")
    rows = {row["slug"]: row for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert len(rows) == len(RoleLibrary().all())
    assert rows["sherlock-holmes"]["name"] == "Sherlock Holmes"
    assert rows["sherlock-holmes"]["source"] == "bundled"
    assert rows["sun-wukong"]["language"] == "zh"
    assert "孙悟空" in out
    assert rows["broken"]["name"] is None
    assert "broken.toml:1" in rows["broken"]["error"]


def test_show_reads_like_a_page(run: Run) -> None:
    code, out, _ = run("show", "holmes")
    assert code == 0
    assert out.startswith("Sherlock Holmes ─")
    for part in (
        "Come in, and take the basket",
        "The game is afoot!",
        "Mrs Hudson",
        "Who are you?",
        "Turns of phrase",
    ):
        assert part in out
    assert max(map(len, out.splitlines())) <= 80


def test_show_keeps_hostile_text_inert(run: Run, mine: Callable[[str, str], Path]) -> None:
    mine(
        "evil",
        'name = "Evil"\ndescription = "[bold]x[/bold] \\u001b[2J\\u202e"\nfacts = ["[/]\\u0007", ":smile:"]',
    )
    code, out, _ = run("show", "evil")
    assert code == 0
    assert "[bold]x[/bold]" in out
    assert "[/]" in out
    assert ":smile:" in out
    assert not set("\x1b\x07\u202e") & set(out)


def test_show_as_json_holds_the_whole_role(run: Run) -> None:
    code, out, _ = run("show", "Sherlok", "--json")
    row = json.loads(out)
    role = RoleLibrary().find("sherlock-holmes").loaded()
    assert code == 0
    assert row["facts"] == list(role.facts)
    assert row["examples"][0] == {"user": role.examples[0].user, "reply": role.examples[0].reply}


@pytest.mark.parametrize("command", [["show", "zzzzz"], ["export", "zzzzz", "x.toml"]])
def test_an_unknown_role_exits_1_with_the_nearest(run: Run, command: list[str]) -> None:
    code, out, err = run(*command)
    assert (code, out) == (1, "")
    assert 'No role is called "zzzzz"; the nearest are ' in err


def test_new_makes_a_role_that_is_sound_and_refuses_to_overwrite(run: Run, home: Path) -> None:
    name = 'Ada "the [red]" Byron\\'
    code, out, _ = run("new", name)
    path = home / "roles" / "ada-the-red-byron.toml"
    assert (code, out) == (0, f"{path}\n")
    assert load_role(path).name == name
    assert run("check", path)[0] == 0
    path.write_text(GOOD, encoding="utf-8")
    code, _, err = run("new", name)
    assert code == 1
    assert "already there" in err
    assert path.read_text(encoding="utf-8") == GOOD
    assert run("new", " \n ")[0] == 1


def test_new_edit_opens_the_editor_and_checks_what_it_left(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    editor = tmp_path / "my editor.py"
    editor.write_text("import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('nam = 1')")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f'"{sys.executable}" "{editor}"')
    code, out, _ = run("new", "Bob", "--edit")
    assert code == 1
    assert 'bob.toml:1: unknown key "nam". Did you mean "name"?' in out
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert "The editor did not work" in run("new", "Carl", "--edit")[2]
    monkeypatch.delenv("EDITOR")
    assert "No editor is set" in run("new", "Dora", "--edit")[2]


def test_check_without_arguments_reads_every_role(run: Run, mine: Callable[[str, str], Path]) -> None:
    code, out, _ = run("check")
    assert code == 0
    assert out == f"{len(RoleLibrary().all())} roles checked, no faults.\n"
    path = mine("broken", 'nmae = "x"\ntags = 3\n')
    code, out, _ = run("check")
    assert code == 1
    assert out.splitlines() == [
        f'{path}:1: unknown key "nmae". Did you mean "name"?',
        f'{path}:1: "description" is missing. Add description = "You are …".',
        f'{path}:2: "tags" must be a list. Write it as ["first", "second"].',
    ]


def test_check_takes_files_folders_and_names(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.toml").write_text("x", encoding="utf-8")
    assert run("check", tmp_path / "a.toml")[0] == 0
    code, out, _ = run("check", tmp_path, "--json")
    assert code == 1
    assert [Path(json.loads(line)["path"]).name for line in out.splitlines()] == ["b.toml"]
    assert run("check", "sherlock")[:2] == (0, "1 role checked, no faults.\n")
    code, out, _ = run("check", tmp_path / "none.toml")
    assert code == 1
    assert "none.toml:1: the file cannot be read (No such file" in out


def test_export_and_import_keep_the_file_as_it_was_written(run: Run, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "my-holmes.toml"
    assert run("export", "Sherlock", target)[:2] == (0, f"{target}\n")
    original = RoleLibrary().find("sherlock-holmes").path.read_text(encoding="utf-8")
    assert target.read_text(encoding="utf-8") == original
    assert "already there" in run("export", "Sherlock", target)[2]
    assert run("export", "Sherlock", target, "--force")[0] == 0
    assert run("export", "hamlet", tmp_path)[1] == f"{tmp_path / 'hamlet.toml'}\n"
    code, out, _ = run("import", target)
    assert (code, out) == (0, f"{home / 'roles' / 'my-holmes.toml'}\n")
    assert (home / "roles" / "my-holmes.toml").read_text(encoding="utf-8") == original
    assert run("import", target)[0] == 1
    assert run("import", target, "--force")[0] == 0


def test_import_refuses_faulty_files_in_a_sentence(run: Run, home: Path, tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("name = 1", encoding="utf-8")
    code, _, err = run("import", faulty)
    assert code == 1
    assert "faulty.toml:1:" in err
    (tmp_path / "web.png").write_bytes(b"<!DOCTYPE html>")
    for name, said in (
        ("card.png", "cannot be read"),
        ("web.png", "web page"),
        ("x.charx", "cannot be read"),
    ):
        code, _, err = run("import", tmp_path / name)
        assert code == 1
        assert said in err
        assert len(err.splitlines()) == 1
    assert not (home / "roles").exists()


CARD = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Ada",
        "description": "{{char}} counts.",
        "first_mes": "Good day, {{user}}.",
        "system_prompt": "Speak in numbers. {{original}}",
        "post_history_instructions": "See https://example.org/x",
        "extensions": {"other": {"kept": 1}},
        "unknown": [1],
    },
}


def test_a_card_is_imported_with_its_trust_sheet_and_kept(run: Run, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "ada.json"
    file.write_text(json.dumps(CARD), encoding="utf-8")
    code, out, err = run("import", file)
    assert (code, out) == (0, f"{home / 'roles' / 'ada.toml'}\n")
    assert "Speak in numbers." in err
    assert "https://example.org/x" in err
    assert (home / "roles" / "cards" / "ada.json").read_bytes() == file.read_bytes()
    role = load_role(home / "roles" / "ada.toml")
    assert (role.name, role.card, role.greeting) == ("Ada", "cards/ada.json", "Good day, {{user}}.")
    assert run("import", file)[0] == 1
    assert run("check")[0] == 0
    back = tmp_path / "back.json"
    assert run("export", "ada", back)[0] == 0
    assert json.loads(back.read_text("utf-8")) == CARD
    picture = tmp_path / "ada.png"
    assert run("export", "ada", picture)[0] == 0
    code, out, _ = run("trust", picture, "--json")
    assert json.loads(out)["system_prompt"] == "Speak in numbers. {{original}}"


def test_a_changed_role_changes_its_card_only_where_it_changed(run: Run, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "ada.json"
    file.write_text(json.dumps(CARD), encoding="utf-8")
    run("import", file)
    toml = home / "roles" / "ada.toml"
    toml.write_text(toml.read_text("utf-8").replace("Good day", "Good night"), encoding="utf-8")
    back = tmp_path / "back.json"
    assert run("export", "ada", back)[0] == 0
    expected = {**CARD, "data": {**CARD["data"], "first_mes": "Good night, {{user}}."}}  # type: ignore[dict-item]
    assert json.loads(back.read_text("utf-8")) == expected


def test_a_bundled_role_becomes_a_card_and_comes_back(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "holmes.png"
    assert run("export", "sherlock-holmes", picture)[0] == 0
    code, out, _ = run("show", picture, "--json")
    shown = json.loads(out)
    role = RoleLibrary().find("sherlock-holmes").loaded()
    assert code == 0
    assert (shown["name"], shown["greeting"]) == (role.name, role.greeting)
    assert len(shown["examples"]) == len(role.examples)
    assert all(fact in shown["description"] for fact in role.facts)


def test_the_command_module_itself_imports_nothing_heavy() -> None:
    program = (
        "import sys, rolekit.commands.roles; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "typer" in loaded
    assert not {"pydantic", "rapidfuzz", "tomlkit", "textual", "httpx", "numpy", "llama_cpp"} & set(loaded)
