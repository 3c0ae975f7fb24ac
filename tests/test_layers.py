"""Imports point down only: shell > leaves > services > means > words."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = {
    "rolekit.cli": 4,
    "rolekit.__main__": 4,
    "rolekit.commands": 4,
    "rolekit.tui": 3,
    "rolekit.train": 3,
    "rolekit.convert": 3,
    "rolekit.chat": 2,
    "rolekit.rolebench": 2,
    "rolekit.synthesis": 2,
    "rolekit.engine": 1,
    "rolekit.endpoints": 1,
    "rolekit.roles": 1,
}
"""Everything else is layer 0: words that everybody uses."""
LEAVES = {"rolekit.tui", "rolekit.train", "rolekit.convert"}


def part(module: str) -> str:
    return ".".join(module.split(".")[:2])


def layer(module: str) -> int:
    return LAYERS.get(part(module), 0)


def modules() -> dict[str, Path]:
    found = {}
    for top in ("rolekit", "tui", "train", "convert", "profiles"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = [*file.relative_to(ROOT).parent.parts, file.stem]
            prefix = [] if top == "rolekit" else ["rolekit"]
            found[".".join([*prefix, *(p for p in parts if p != "__init__")])] = file
    return found


def imports(file: Path) -> list[tuple[int, str]]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = [(n.lineno, a.name) for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            names.append((node.lineno, node.module or ""))
    return [(line, name) for line, name in names if name.split(".")[0] == "rolekit"]


def wrong(module: str, imported: str) -> bool:
    """Whether module may not import imported: it lies higher, or both are leaves of different packages."""
    up = layer(imported) > layer(module)
    across = part(imported) != part(module) and {part(imported), part(module)} <= LEAVES
    return up or across


def test_imports_point_down() -> None:
    faults = [
        f"{file.relative_to(ROOT)}:{line}: {module} imports {imported}"
        for module, file in modules().items()
        for line, imported in imports(file)
        if wrong(module, imported)
    ]
    assert not faults, "\n".join(faults)


def test_the_rule_can_fail() -> None:
    assert wrong("rolekit.roles.role", "rolekit.chat.session")
    assert wrong("rolekit.tui.app", "rolekit.train.loop")
    assert not wrong("rolekit.commands.chat", "rolekit.tui.app")


def test_every_package_has_its_layer() -> None:
    folders = {part(module) for module, file in modules().items() if file.name == "__init__.py"}
    assert folders - {"rolekit", "rolekit.profiles"} <= set(LAYERS)
