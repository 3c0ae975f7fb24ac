"""Damaged and hostile cards: a card, or one sentence; never a crash, a hang, or much memory."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekit.errors import RolekitError
from rolekit.roles.block import opening_messages
from rolekit.roles.cards import png
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.cards.trust import lines_of, trust_sheet
from rolekit.roles.cards.writing import write_card

PAYLOAD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Ada",
        "description": "A counter.",
        "first_mes": "Hello.",
        "tags": ["x"],
        "extensions": {},
    },
}


def _png() -> bytes:
    source, target = io.BytesIO(png.plain_png(3, 3)), io.BytesIO()
    png.copy_with_texts(
        source, target, (), [png.text_chunk("ccv3", base64.b64encode(json.dumps(PAYLOAD).encode()))]
    )
    return target.getvalue()


def _charx() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.json", json.dumps(PAYLOAD))
        archive.writestr("assets/a.png", b"abc")
    return buffer.getvalue()


SEEDS = {
    "a.png": _png(),
    "a.charx": _charx(),
    "a.json": json.dumps(PAYLOAD).encode(),
    "a.yaml": b"name: a\ncontext: b\n",
}


def use(path: Path) -> None:
    """All that happens to a card between a download and a chat; RolekitError alone may come out."""
    try:
        card = read_card(path)
        role = role_of(card).role
        lines_of(trust_sheet(card))
        opening_messages(role, "You")
        for asset in card.assets.values():
            asset.read()
        write_card(card, path.with_name("out.png"))
    except RolekitError as error:
        assert "\n" not in str(error)  # noqa: PT017  (most cards are read, and nothing is raised)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(SEEDS)),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=8)), max_size=4),
)
def test_damaged_cards_are_read_or_refused(
    tmp_path: Path, name: str, cuts: list[tuple[float, int, bytes]]
) -> None:
    data = SEEDS[name]
    for where, length, put in cuts:
        at = int(where * len(data))
        data = data[:at] + put + data[at + length :]
    path = tmp_path / name
    path.write_bytes(data)
    use(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from(["name", "description", "first_mes", "mes_example", "tags", "alternate_greetings",
                          "character_book", "extensions", "assets", "nickname", "system_prompt"])  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(FIELDS, VALUES, max_size=6))
def test_fields_of_any_type_are_read_or_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**PAYLOAD, "data": {**PAYLOAD["data"], **fields}}), encoding="utf-8")  # type: ignore[dict-item]
    use(path)


@pytest.mark.parametrize(
    "make",
    [
        'b\'{"name":"x","description":"\' + b\'y\' * 15_000_000 + b\'"}\'',
        'b\'{"name":"x","description":"z","a":[\' + b\'{},\' * 190_000 + b\'0]}\'',
        "b'PK\\3\\4' + b'PK\\1\\2' + bytes(60_000_000) + b'PK\\5\\6' + bytes(8) + b'\\xff\\xff\\xff\\7' + bytes(6)",
    ],
    ids=["long text", "many parts", "long list of files"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_stays_below_200_mb(tmp_path: Path, make: str) -> None:
    program = f"""
import resource, sys
from pathlib import Path
from rolekit.errors import RolekitError
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.cards.trust import trust_sheet
path = Path(sys.argv[1])
path.write_bytes({make})
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
try:
    card = read_card(path)
    role_of(card), trust_sheet(card)
except RolekitError as error:
    print(error)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # 60 MB of it are the file's bytes, which this process writes itself.
    assert int(done.stdout.split()[-1]) < 200 + 60, done.stdout
