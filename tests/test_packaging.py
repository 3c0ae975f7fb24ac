"""The folders at the top and the import names: nothing is left out, nothing has two names, types hold."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = SETTINGS["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
HEAVY = ["torch", "transformers", "peft", "mlx", "mlx_lm", "gguf", "llama_cpp", "textual", "httpx", "numpy"]


def import_name(folder: Path) -> str:
    """The import name of a folder of the tree, by the same table that setuptools uses."""
    first, *rest = folder.relative_to(ROOT).parts
    mapped = {path: name for name, path in FOLDERS.items()}
    return ".".join([mapped[first], *rest])


def package_folders() -> list[Path]:
    tops = [ROOT / path for path in FOLDERS.values()]
    return sorted(init.parent for top in tops for init in top.rglob("__init__.py"))


def test_every_package_is_in_the_wheel() -> None:
    assert sorted(map(import_name, package_folders())) == sorted(SETUPTOOLS["packages"])


def test_every_folder_with_modules_is_a_package() -> None:
    tops = [ROOT / path for path in FOLDERS.values()]
    folders = {file.parent for top in tops for file in top.rglob("*.py")}
    assert folders == set(package_folders())


def test_no_module_has_two_names() -> None:
    code = "import rolekit.tui, rolekit.train, rolekit.convert, rolekit.profiles, sys; print(*sys.modules)"
    loaded = run_python(code, "-P").split()
    assert not {"tui", "train", "convert", "profiles"} & set(loaded)


def test_types_hold(tmp_path: Path) -> None:
    tree = tmp_path / "rolekit"
    tree.mkdir()
    for item in (ROOT / "rolekit").iterdir():
        if item.name != "__pycache__":
            (tree / item.name).symlink_to(item)
    for name, path in FOLDERS.items():
        if "." in name:
            (tree / name.partition(".")[2]).symlink_to(ROOT / path)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "rolekit"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", ["rolekit.cli", "rolekit.commands.chat", "rolekit.commands.roles"])
def test_a_cold_start_is_light(module: str) -> None:
    loaded = run_python(f"import {module}, sys; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_help_is_light_too() -> None:
    code = """
import sys
sys.argv = ["rolekit", "--help"]
from rolekit.cli import main
try:
    main()
finally:
    print("LOADED", *sys.modules)
"""
    out = run_python(code)
    assert "Usage: rolekit" in out
    assert not set(HEAVY) & set(out.partition("LOADED")[2].split())


def test_a_missing_extra_names_the_line_that_brings_it(tmp_path: Path) -> None:
    code = """
import sys, rolekit.cli
from types import SimpleNamespace
sys.modules["peft"] = None
def app(**_):
    import peft
rolekit.cli.app = app
rolekit.cli.main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "rolekit: This needs peft. Install it with: pip install 'rolekit[train]'\n"


def test_any_other_import_error_is_a_bug_and_keeps_its_traceback() -> None:
    code = """
import rolekit.cli
def app(**_):
    import no_such_module_of_ours
rolekit.cli.app = app
rolekit.cli.main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" in result.stderr


def run_python(code: str, *flags: str) -> str:
    result = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return result.stdout
