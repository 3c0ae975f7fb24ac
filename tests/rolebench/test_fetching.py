"""`data pull` against a real HTTP server that speaks the needed part of the hub's protocol, and breaks."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from rolekit.errors import RolekitError
from rolekit.rolebench.fetching import REPO, copy_rolebench, pull_rolebench
from rolekit.rolebench.manifest import changed_files, read_manifest

NO_WAIT = (0.0, 0.0)
ROW = json.dumps({"role": "Ada", "question": "Who?", "generated": ["Ada."]}).encode() + b"\n"
LARGE = "rolebench-eng/instruction-generalization/general/train.jsonl"
FILES = {
    LARGE: ROW * 20_000,
    "rolebench-zh/general/test.jsonl": ROW,
    "profiles-eng/desc.json": b"{}",
    "instructions-eng/nums.jsonl": b"",
    "README.md": b"a page",
    "assets/picture.png": b"a picture",
}


@dataclass
class Hub:
    """What the server holds and what it should do wrong."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    break_after: list[int] = field(default_factory=list)
    """Bytes after which the next transfers of the large file break off."""
    hold: threading.Event | None = None
    corrupt: bool = False
    checksums: bool = True
    transfers: list[tuple[str, str]] = field(default_factory=list)
    """File and Range header of every transfer."""


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/datasets/{REPO}"):
                self.whole(json.dumps(listing(hub)).encode())
            elif path.startswith(f"/datasets/{REPO}/resolve/"):
                self.transfer(path.split("/", 6)[6])
            else:
                self.send_error(404)

        def whole(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def transfer(self, name: str) -> None:
            content, asked = hub.files[name], self.headers.get("Range", "")
            hub.transfers.append((name, asked))
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if hub.corrupt:
                rest = rest[:-1] + b"x"
            if name == LARGE and hub.hold:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                hub.hold.wait(30)
                self.close_connection = True
            elif name == LARGE and hub.break_after:
                self.wfile.write(rest[: hub.break_after.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(rest)

    return Handler


def listing(hub: Hub) -> dict[str, object]:
    siblings: list[dict[str, object]] = []
    for name, content in hub.files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, object] = {"rfilename": name, "size": len(content)}
        if hub.checksums:
            entry["blobId"] = blob
        if name == LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
        siblings.append(entry)
    return {"id": REPO, "sha": "c0ffee" * 6 + "beef", "siblings": siblings}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    yield state
    server.shutdown()
    server.server_close()


def wanted() -> dict[str, bytes]:
    return {
        name: content for name, content in FILES.items() if name.startswith(("rolebench", "instr", "prof"))
    }


def fetched(home: Path) -> dict[str, bytes]:
    folder = home / "data" / "rolebench"
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    }


def test_all_folders_arrive_and_are_not_fetched_twice(hub: Hub, home: Path) -> None:
    folder = pull_rolebench()
    assert folder == home / "data" / "rolebench"
    assert fetched(home) == wanted()
    manifest = read_manifest(folder)
    assert manifest is not None
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in wanted().items()
    }
    assert manifest["source"].startswith(f"{REPO}@c0ffee")
    number = len(hub.transfers)
    pull_rolebench()
    assert len(hub.transfers) == number
    assert changed_files(folder) == []
    (folder / "profiles-eng" / "desc.json").write_bytes(b"{ }")
    assert changed_files(folder) == ["profiles-eng/desc.json"]


def test_a_broken_connection_is_resumed(hub: Hub, home: Path) -> None:
    hub.break_after = [100_000]
    pull_rolebench(waits_seconds=NO_WAIT)
    assert fetched(home) == wanted()
    assert [asked for name, asked in hub.transfers if name == LARGE] == ["", "bytes=100000-"]


def test_a_killed_process_loses_nothing_of_what_came(hub: Hub, home: Path) -> None:
    hub.hold = threading.Event()
    command = [sys.executable, "-m", "rolekit", "data", "pull", "rolebench"]
    process = subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.DEVNULL)
    half, deadline = len(FILES[LARGE]) // 2, time.monotonic() + 60
    while sum(path.stat().st_size for path in (home / "data").rglob("*.part")) < half:
        assert time.monotonic() < deadline, "the download did not come that far"
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.hold.set()
    hub.hold = None
    hub.transfers.clear()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(home / "data" / "rolebench")
    assert (LARGE, f"bytes={half}-") in hub.transfers
    assert fetched(home) == wanted()


@pytest.mark.parametrize("name", [LARGE, "rolebench-zh/general/test.jsonl"])
def test_wrong_bytes_are_refused_by_either_kind_of_checksum(hub: Hub, home: Path, name: str) -> None:
    hub.files = {name: FILES[name]}
    hub.corrupt = True
    with pytest.raises(RolekitError, match="wrong checksum and was removed"):
        pull_rolebench(waits_seconds=NO_WAIT)
    assert fetched(home) == {}


@pytest.mark.parametrize(
    "name", ["rolebench-eng/../../../stolen.jsonl", "rolebench-eng\\..\\x.jsonl", "rolebench-a:b"]
)
def test_a_file_name_cannot_lead_out_of_the_folder(hub: Hub, home: Path, name: str) -> None:
    hub.files = {name: ROW}
    with pytest.raises(RolekitError, match="a name that leads elsewhere"):
        pull_rolebench()
    assert hub.transfers == []


def test_what_cannot_be_checked_is_not_fetched(hub: Hub) -> None:
    hub.checksums = False
    with pytest.raises(RolekitError, match="gives no checksum for"):
        pull_rolebench()
    hub.files = {"README.md": b"a page"}
    with pytest.raises(RolekitError, match="has none of RoleBench's folders"):
        pull_rolebench()


def test_a_folder_is_copied_once(tmp_path: Path, home: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / name).write_bytes(content)
    said: list[str] = []
    copy_rolebench(tmp_path / "clone", said.append)
    assert fetched(home) == wanted()
    copy_rolebench(tmp_path / "clone", said.append)
    assert said == ["4 files copied, 0 were there already", "0 files copied, 4 were there already"]
    with pytest.raises(RolekitError, match="There is no folder"):
        copy_rolebench(tmp_path / "none")
    with pytest.raises(RolekitError, match="holds none of RoleBench's folders"):
        copy_rolebench(tmp_path)
