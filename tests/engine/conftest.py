"""llama.cpp's own templates and vocabularies, from the source release of the installed llama-cpp-python."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import httpx
import pytest
from platformdirs import user_cache_path

from rolekit.engine.gguf_header import GgufHeader
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import ChatTemplate, load_template, template_names
from rolekit.engine.vocabulary import Vocabulary, open_vocabulary

PACKAGE = "llama-cpp-python"


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


@pytest.fixture(scope="session")
def template_sources(llama_cpp_source: Path) -> dict[str, str]:
    """Name to text of the chat templates that llama.cpp tests with."""
    files = sorted((llama_cpp_source / "vendor/llama.cpp/models/templates").glob("*.jinja"))
    return {file.stem: file.read_text("utf-8") for file in files}


@pytest.fixture(scope="session")
def all_templates(template_sources: dict[str, str]) -> dict[str, ChatTemplate]:
    """llama.cpp's templates and rolekit's own (`rolekit chatml`), by name."""
    empty = GgufHeader(3, {}, (), 32, 0, 0)
    own = {f"rolekit {name}": load_template(name, empty) for name in template_names()}
    return {**{name: ChatTemplate(source, name) for name, source in template_sources.items()}, **own}


@pytest.fixture(scope="session")
def prompter(
    all_templates: dict[str, ChatTemplate], vocabulary_named: Callable[[str], Vocabulary]
) -> Callable[[str, str], Prompter]:
    """The prompter of a template and a vocabulary, both by name."""

    @cache
    def made(template: str, vocabulary: str) -> Prompter:
        return Prompter(all_templates[template], vocabulary_named(vocabulary))

    return made
