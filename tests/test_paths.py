"""Paths that people type: odd ones end in a sentence too."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekit.engine.gguf_header import GgufHeader
from rolekit.engine.references import parse_adapter, resolve
from rolekit.engine.templates import load_template
from rolekit.errors import RolekitError
from rolekit.paths import expanded, home, write_text

ODD = ["~nobody-of-that-name/x", "a" * 300, "folder/" + "a" * 300, "a\0b"]


def test_only_a_home_that_exists_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert expanded("~/x") == Path("/home/ann/x")
    assert expanded("~backup.md") == Path("~backup.md")
    monkeypatch.setenv("ROLEKIT_HOME", "~nobody-here")
    assert home() == Path("~nobody-here")


@pytest.mark.parametrize("name", ODD)
def test_an_odd_path_is_one_sentence(name: str) -> None:
    with pytest.raises(RolekitError):
        resolve(f"{name}.gguf")
    with pytest.raises(RolekitError):
        parse_adapter(f"{name}.gguf")
    with pytest.raises(RolekitError):
        load_template(f"{name}.jinja", GgufHeader(3, {}, (), 32, 0, 0))


@pytest.mark.parametrize("name", ["a" * 255, "a\0b", "b/" + "a" * 300])
def test_a_name_that_no_file_can_have_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(RolekitError):
        write_text(tmp_path / name, "x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf", "1e999"])
def test_an_adapters_scale_is_a_number(tmp_path: Path, scale: str) -> None:
    path = tmp_path / "a.gguf"
    path.touch()
    assert parse_adapter(f"{path}:0.5") == (path, 0.5)
    with pytest.raises(RolekitError, match=f"cannot have the scale {scale}"):
        parse_adapter(f"{path}:{scale}")
