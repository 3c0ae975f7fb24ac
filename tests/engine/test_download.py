"""Downloads against a real HTTP server that speaks the needed part of the hub's protocol, and breaks."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import gguf
import numpy as np
import pytest

from rolekit.engine import transfer
from rolekit.engine.download import pull
from rolekit.errors import RolekitError

COMMIT = "c0ffee" * 6 + "beef"
NO_WAIT = (0.0, 0.0)


def tiny_gguf(path: Path, kib: int = 3000) -> bytes:
    """A sound GGUF whose one tensor is random, so that no two places in the file look alike."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_tensor("token_embd.weight", np.random.default_rng(kib).random((kib, 256), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@dataclass
class Hub:
    """The server's state: its files, what it should do wrong, and what it was asked."""

    repo: str = "good/model"
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """Bytes after which the next transfers break off, one entry a transfer; -1 sends the whole file."""
    ignore_range: bool = False
    corrupt: bool = False
    list_checksums: bool = True
    too_long: bool = False
    chunked: bool = False
    page: str | None = None
    """A text that answers everything, as a network's login page does."""
    status: tuple[int, str] | None = None
    transfer_status: list[int] = field(default_factory=list)
    hold: threading.Event | None = None
    """When set, a transfer sends half and waits for this event."""
    ranges: list[str] = field(default_factory=list)
    tokens_on_the_hub: list[str] = field(default_factory=list)
    tokens_off_the_hub: list[str] = field(default_factory=list)
    url: str = ""


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def reply(self, status: int, headers: dict[str, str], content: bytes, body: bool) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            if hub.page is not None:
                self.reply(200, {"Content-Type": "text/html"}, hub.page.encode(), body)
            elif path.startswith("/cdn/"):
                self.transfer(hub.files[path.removeprefix("/cdn/")])
            elif hub.status:
                self.reply(hub.status[0], {"X-Error-Code": hub.status[1]}, b"", body)
            elif path.startswith(f"/api/models/{hub.repo}"):
                content = json.dumps(self.listing()).encode()
                self.reply(200, {"Content-Type": "application/json"}, content, body)
            elif path.startswith(f"/{hub.repo}/resolve/"):
                name = path.split("/", 5)[5]
                hub.tokens_on_the_hub.append(self.headers.get("Authorization", ""))
                content = hub.files[name]
                port = self.server.server_address[1]
                headers = {
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "X-Linked-Size": str(len(content)),
                    # Another host name, as the hub's storage is: the token must not follow there.
                    "Location": f"http://localhost:{port}/cdn/{name}",
                }
                self.reply(302, headers, b"", body)
            else:
                self.reply(404, {"X-Error-Code": "RepoNotFound"}, b"", body)

        def listing(self) -> dict[str, object]:
            def entry(name: str, content: bytes) -> dict[str, object]:
                lfs = {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 130,
                }
                known = {"size": len(content), "lfs": lfs} if hub.list_checksums else {}
                return {"rfilename": name} | known

            siblings = [entry(name, content) for name, content in hub.files.items()]
            return {"id": hub.repo, "sha": COMMIT, "siblings": [{"rfilename": "README.md"}, *siblings]}

        def transfer(self, content: bytes) -> None:
            asked = self.headers.get("Range", "")
            hub.ranges.append(asked)
            if token := self.headers.get("Authorization"):
                hub.tokens_off_the_hub.append(token)
            if hub.transfer_status:
                self.reply(hub.transfer_status.pop(0), {}, b"", True)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not hub.ignore_range else 0
            total = len(content)
            if hub.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            rest = content[start:] + (b"more" if hub.too_long else b"")
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if hub.chunked:
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            limit = hub.break_after.pop(0) if hub.break_after else -1
            if hub.hold:
                self.wfile.write(rest[: len(rest) // 2])
                hub.hold.wait(30)
                self.close_connection = True
            elif limit >= 0:
                self.wfile.write(rest[:limit])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self.wfile.write(rest)

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def content(tmp_path: Path, hub: Hub) -> bytes:
    hub.files["tiny-Q8_0.gguf"] = tiny_gguf(tmp_path / "made.gguf")
    return hub.files["tiny-Q8_0.gguf"]


def local(home: Path, name: str = "tiny-Q8_0.gguf") -> Path:
    return home / "models" / "good" / "model" / name


def left_over(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "models").rglob("*") if path.is_file())


def test_a_model_arrives_whole_and_is_not_fetched_twice(hub: Hub, content: bytes, home: Path) -> None:
    steps: list[tuple[int, int]] = []
    path = pull("hf:good/model/tiny-Q8_0.gguf", lambda name, done, total: steps.append((done, total)))
    assert path == local(home)
    assert path.read_bytes() == content
    assert steps[0] == (0, len(content))
    assert steps[-1] == (len(content), len(content))
    assert left_over(home) == ["tiny-Q8_0.gguf"]
    assert pull("hf:good/model") == path
    assert hub.ranges == [""]


def test_the_token_stays_on_the_hub(hub: Hub, content: bytes) -> None:
    pull("hf:good/model")
    assert hub.tokens_on_the_hub == ["Bearer hf_secret"]
    assert hub.tokens_off_the_hub == []


def test_a_broken_connection_is_resumed_within_the_command(hub: Hub, content: bytes, home: Path) -> None:
    half = len(content) // 2
    hub.break_after = [half, 1000]
    path = pull("hf:good/model", waits_seconds=NO_WAIT)
    assert path.read_bytes() == content
    assert hub.ranges == ["", f"bytes={half}-", f"bytes={half + 1000}-"]


def test_the_same_command_resumes_after_the_first_one_gave_up(hub: Hub, content: bytes, home: Path) -> None:
    half = len(content) // 2
    hub.break_after = [half, 0, 0]
    with pytest.raises(RolekitError, match=r"broke after .* goes on where it stopped"):
        pull("hf:good/model", waits_seconds=NO_WAIT)
    assert not local(home).exists()
    assert [name.endswith(".part") for name in left_over(home)] == [True]
    hub.ranges.clear()
    path = pull("hf:good/model")
    assert hub.ranges == [f"bytes={half}-"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == hashlib.sha256(content).hexdigest()
    assert left_over(home) == ["tiny-Q8_0.gguf"]


def test_a_killed_process_loses_nothing_of_what_came(hub: Hub, content: bytes, home: Path) -> None:
    hub.hold = threading.Event()
    script = "import sys; from rolekit.engine.download import pull; print(pull(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", script, "hf:good/model"], env=os.environ.copy())
    half, deadline = len(content) // 2, time.monotonic() + 30
    while sum(path.stat().st_size for path in (home / "models").rglob("*.part")) < half:
        assert time.monotonic() < deadline, "the download did not come that far"
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.hold.set()
    hub.hold = None
    hub.ranges.clear()
    done = subprocess.run(
        [sys.executable, "-c", script, "hf:good/model"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(local(home))
    assert hub.ranges == [f"bytes={half}-"]
    assert local(home).read_bytes() == content


def test_two_processes_do_not_write_one_part(hub: Hub, content: bytes, home: Path) -> None:
    hub.hold = threading.Event()
    first = threading.Thread(target=lambda: pull("hf:good/model", waits_seconds=NO_WAIT))
    first.start()
    while not list((home / "models").rglob("*.part")):
        time.sleep(0.01)
    with pytest.raises(RolekitError, match="Another rolekit"):
        pull("hf:good/model")
    hub.hold, held = None, hub.hold
    held.set()
    first.join(30)
    assert local(home).read_bytes() == content


def test_a_server_that_ignores_the_range_still_gives_a_right_file(
    hub: Hub, content: bytes, home: Path
) -> None:
    hub.break_after = [len(content) // 3]
    hub.ignore_range = True
    assert pull("hf:good/model", waits_seconds=NO_WAIT).read_bytes() == content
    assert len(hub.ranges) == 2


def test_a_busy_server_is_asked_again(hub: Hub, content: bytes) -> None:
    hub.transfer_status = [503, 429]
    assert pull("hf:good/model", waits_seconds=NO_WAIT).read_bytes() == content


@pytest.mark.parametrize("fault", ["corrupt", "too_long"])
def test_wrong_bytes_are_refused_and_removed(hub: Hub, content: bytes, home: Path, fault: str) -> None:
    setattr(hub, fault, True)
    with pytest.raises(RolekitError, match=r"wrong checksum and was removed|sends something other"):
        pull("hf:good/model", waits_seconds=NO_WAIT)
    assert not any(path.stat().st_size for path in (home / "models").rglob("*") if path.is_file())
    setattr(hub, fault, False)
    assert pull("hf:good/model").read_bytes() == content


def test_more_than_announced_is_not_kept(hub: Hub, content: bytes, home: Path) -> None:
    hub.too_long = hub.chunked = True
    with pytest.raises(RolekitError, match="sent more of"):
        pull("hf:good/model", waits_seconds=NO_WAIT)
    hub.too_long = False
    assert pull("hf:good/model").read_bytes() == content


@pytest.mark.parametrize("page", ["<html>Log in to the café's Wi-Fi</html>", "{}", "[1]", ""])
def test_a_login_page_is_not_taken_for_the_hub(hub: Hub, page: str) -> None:
    hub.page = page
    with pytest.raises(RolekitError, match="is not a model hub"):
        pull("hf:good/model")


def test_offline_mode_is_respected(hub: Hub, content: bytes) -> None:
    script = "from rolekit.engine.download import pull; pull('hf:good/model')"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert "RolekitError: HF_HUB_OFFLINE is set" in done.stderr
    assert hub.ranges == []


def test_a_part_of_another_version_is_not_continued(
    hub: Hub, content: bytes, home: Path, tmp_path: Path
) -> None:
    hub.break_after = [1000, 0, 0]
    with pytest.raises(RolekitError):
        pull("hf:good/model", waits_seconds=NO_WAIT)
    hub.files["tiny-Q8_0.gguf"] = newer = tiny_gguf(tmp_path / "newer.gguf", 200)
    hub.ranges.clear()
    assert pull("hf:good/model").read_bytes() == newer
    assert hub.ranges == [""]
    assert left_over(home) == ["tiny-Q8_0.gguf"]


def test_a_file_that_is_no_gguf_never_gets_its_name(hub: Hub, home: Path) -> None:
    hub.files["page.gguf"] = b"<!DOCTYPE html><html>not found</html>"
    with pytest.raises(RolekitError, match=r"page\.gguf is not a GGUF file: it is a web page") as caught:
        pull("hf:good/model")
    assert ".part" not in str(caught.value)
    assert left_over(home) == []


def test_all_parts_of_a_split_model_are_fetched(hub: Hub, home: Path, tmp_path: Path) -> None:
    for part in (1, 2, 3):
        hub.files[f"big-Q4_K_M-{part:05d}-of-00003.gguf"] = tiny_gguf(tmp_path / f"{part}.gguf", 10 + part)
    path = pull("hf:good/model")
    assert path.name == "big-Q4_K_M-00001-of-00003.gguf"
    assert left_over(home) == sorted(hub.files)
    del hub.files["big-Q4_K_M-00002-of-00003.gguf"]
    with pytest.raises(RolekitError, match="split into 3 parts, and 1 of them"):
        pull("hf:good/model/big-Q4_K_M-00001-of-00003.gguf")


def test_the_sensible_quantization_is_chosen_or_the_user_is_asked(hub: Hub, tmp_path: Path) -> None:
    made = tiny_gguf(tmp_path / "made.gguf", 20)
    hub.files = dict.fromkeys(("m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-m-f16.gguf", "m-IQ2_XS.gguf"), made)
    assert pull("hf:good/model").name == "m-Q4_K_M.gguf"
    del hub.files["m-Q4_K_M.gguf"]
    with pytest.raises(RolekitError) as caught:
        pull("hf:good/model")
    assert "hf:good/model/m-Q8_0.gguf" in str(caught.value)
    assert "mmproj" not in str(caught.value)
    with pytest.raises(RolekitError, match=r"has no file m-Q5_0\.gguf"):
        pull("hf:good/model/m-Q5_0.gguf")


def test_checksums_are_asked_for_where_the_listing_has_none(hub: Hub, content: bytes) -> None:
    hub.list_checksums = False
    assert pull("hf:good/model").read_bytes() == content
    hub.corrupt = True
    hub.files["other.gguf"] = content + b"x"
    with pytest.raises(RolekitError, match="wrong checksum"):
        pull("hf:good/model/other.gguf", waits_seconds=NO_WAIT)


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (404, "RepoNotFound", "There is no repository good/model"),
        (401, "", "it is private, or there is no such repository"),
        (401, "GatedRepo", "accepted its licence"),
        (403, "GatedRepo", "accepted its licence"),
        (403, "", "did not let us read"),
        (500, "", "answered with an error \\(500\\)"),
        (429, "", "slow down"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub: Hub, status: int, code: str, sentence: str) -> None:
    hub.status = (status, code)
    with pytest.raises(RolekitError, match=sentence):
        pull("hf:good/model", waits_seconds=NO_WAIT)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(RolekitError, match="cannot be reached"):
            pull("hf:good/model")
    assert time.monotonic() - started < 20


def test_a_full_disk_is_noticed_before(hub: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SPARE_BYTES", 1 << 60)
    with pytest.raises(RolekitError, match=r"The download needs .* free"):
        pull("hf:good/model")
    assert hub.ranges == []


def test_what_fits_on_a_full_disk_is_kept(hub: Hub, content: bytes, home: Path) -> None:
    limit = len(content) // 2
    script = (
        "import resource, signal, sys; from rolekit.errors import RolekitError; from rolekit.engine.download import pull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try: pull('hf:good/model')\n"
        "except RolekitError as error: sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("tiny-Q8_0.gguf could not be written")
    assert "goes on where it stopped" in done.stderr
    hub.ranges.clear()
    assert pull("hf:good/model").read_bytes() == content
    assert hub.ranges == [f"bytes={limit}-"]


@pytest.mark.parametrize(
    "name", ["../../../evil.gguf", "sub/../../evil.gguf", ".hidden.gguf", "/etc/evil.gguf", "a\\b.gguf"]
)
def test_a_server_cannot_name_a_file_outside_the_models_folder(
    hub: Hub, content: bytes, home: Path, name: str
) -> None:
    hub.files = {name: content}
    with pytest.raises(RolekitError, match="does not name a model"):
        pull("hf:good/model")
    assert left_over(home) == []


def rolekit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *words], capture_output=True, text=True, check=False
    )


def test_the_command_fetches_chooses_and_removes(hub: Hub, content: bytes, home: Path) -> None:
    done = rolekit("models", "pull", "hf:good/model")
    assert (done.returncode, done.stdout.strip()) == (0, str(local(home)))
    assert "Fetching hf:good/model/tiny-Q8_0.gguf" in done.stderr
    assert rolekit("models", "default", "tiny").returncode == 0
    rows = [json.loads(line) for line in rolekit("models", "list", "--json").stdout.splitlines()]
    chosen = [row for row in rows if row.get("is_default")]
    assert [(row["ref"], row["file_bytes"]) for row in chosen] == [
        ("hf:good/model/tiny-Q8_0.gguf", len(content))
    ]
    assert rolekit("models", "remove", "tiny").returncode == 1
    assert local(home).exists()
    done = rolekit("models", "remove", "tiny", "--yes")
    assert done.returncode == 0
    assert "the starter is now" in done.stderr
    assert list((home / "models").iterdir()) == []


def test_the_command_says_in_one_line_what_went_wrong(hub: Hub, content: bytes, home: Path) -> None:
    hub.corrupt = True
    done = rolekit("models", "pull", "hf:good/model")
    assert (done.returncode, done.stdout) == (1, "")
    assert "rolekit: tiny-Q8_0.gguf arrived with a wrong checksum and was removed." in done.stderr
    assert "Traceback" not in done.stderr
    assert left_over(home) == []


@pytest.mark.terminal
def test_a_terminal_sees_a_bar_and_ctrl_c_keeps_what_came(hub: Hub, content: bytes, home: Path) -> None:
    import pexpect

    hub.hold = threading.Event()
    child = pexpect.spawn(
        sys.executable, ["-m", "rolekit", "models", "pull", "hf:good/model"], dimensions=(24, 100)
    )
    child.expect(r"tiny-Q8_0\.gguf.*MiB", timeout=20)
    half, deadline = len(content) // 2, time.monotonic() + 20
    while sum(path.stat().st_size for path in (home / "models").rglob("*.part")) < half:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.sendintr()
    child.expect("the same command goes on from there", timeout=20)
    child.expect(pexpect.EOF, timeout=20)
    child.close()
    assert child.exitstatus == 130
    hub.hold.set()
    hub.hold = None
    hub.ranges.clear()
    assert rolekit("models", "pull", "hf:good/model").returncode == 0
    assert hub.ranges == [f"bytes={half}-"]


def test_the_readme_s_download_commands_work(hub: Hub, content: bytes, home: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    commands = [line.split() for line in readme.splitlines() if line.startswith("rolekit") and "hf:" in line]
    assert [words[:3] for words in commands] == [
        ["rolekit", "models", "pull"],
        ["rolekit", "models", "default"],
    ]
    owner, name, file = commands[0][3].removeprefix("hf:").split("/")
    hub.repo, hub.files = f"{owner}/{name}", {file: content}
    for words in commands:
        done = rolekit(*words[1:])
        assert done.returncode == 0, done.stderr
    assert (home / "models" / owner / name / file).read_bytes() == content
