"""A base from the hub, against a real HTTP server that speaks the needed part of its protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from rolekit.errors import RolekitError
from rolekit.paths import models_dir
from rolekit.train.bases import find_base
from rolekit.train.fetching import fetch_base

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00001.safetensors": bytes(range(256)) * 4000,
    "tokenizer.json": b"{}",
    "modeling_evil.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "onnx/model.safetensors": b"elsewhere",
}
COMMIT = "ab" * 20


class Hub(BaseHTTPRequestHandler):
    """Lists and serves FILES of good/model and of bad/model, which has only pickled weights."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        repo = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = FILES if repo == "good/model" else {"pytorch_model.bin": b"pickle"}
        if path.startswith("/api/models/"):
            siblings = [self.entry(name, content) for name, content in files.items()]
            self.answer(
                json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode(), "application/json"
            )
        else:
            self.answer(files[path.split("/", 5)[5]], "application/octet-stream")

    @staticmethod
    def entry(name: str, content: bytes) -> dict[str, object]:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {"rfilename": name, "size": len(content), "blobId": blob} | (
            {"lfs": lfs} if len(content) > 99 else {}
        )

    def answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    yield "hub"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_base_is_fetched_without_code_and_pickles(hub: str) -> None:
    said: list[str] = []
    folder = find_base("hf:good/model", said.append)
    assert folder == models_dir() / "good/model"
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json", "model-00001-of-00001.safetensors", "tokenizer.json"
    ]  # fmt: skip
    assert (folder / "model-00001-of-00001.safetensors").read_bytes() == FILES[
        "model-00001-of-00001.safetensors"
    ]
    assert said == ["fetching good/model, 1.0 MiB"]
    assert find_base("hf:good/model", said.append) == folder
    assert len(said) == 1, "what is there is not fetched again"


def test_an_interrupted_fetch_goes_on(hub: str) -> None:
    folder = fetch_base("hf:good/model")
    (folder / "config.json").unlink()
    weights = folder / "model-00001-of-00001.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    digest = hashlib.sha256(content).hexdigest()
    Path(f"{weights}.{digest[:12]}.part").write_bytes(content[:5000])
    assert find_base("hf:good/model") == folder
    assert weights.read_bytes() == content


def test_pickled_weights_are_refused(hub: str) -> None:
    with pytest.raises(RolekitError, match="only pickled ones, which can run code"):
        find_base("hf:bad/model")
