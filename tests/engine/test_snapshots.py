"""KV snapshots as files: found only by the right key, never trusted unread, thrown away by age."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from rolekit.engine.snapshots import Snapshots

MADE_BY = {"model": "m", "adapters": "", "context": "512"}
IDS = [1, 2, 3, 49151]
STATE = bytearray(b"state" * 1000)


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "kv", 1 << 20)


def test_what_is_saved_comes_back(snapshots: Snapshots) -> None:
    assert snapshots.save("chat:1", MADE_BY, IDS, STATE)
    assert snapshots.ids("chat:1", MADE_BY) == IDS
    loaded = snapshots.load("chat:1", MADE_BY)
    assert loaded is not None
    assert (loaded.ids, loaded.state) == (IDS, STATE)


@pytest.mark.parametrize("key", MADE_BY)
def test_one_made_by_other_means_is_not_found(snapshots: Snapshots, key: str) -> None:
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    other = {**MADE_BY, key: "other"}
    assert snapshots.ids("chat:1", other) == []
    assert snapshots.load("chat:1", other) is None
    assert snapshots.load("chat:2", MADE_BY) is None
    assert snapshots.load("chat:1", MADE_BY) is not None


def test_one_under_anothers_name_is_refused_and_removed(snapshots: Snapshots) -> None:
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    other = {**MADE_BY, "model": "another"}
    path = snapshots.path("chat:1", other)
    snapshots.path("chat:1", MADE_BY).rename(path)
    assert snapshots.load("chat:1", other) is None
    assert not path.exists()


def test_no_damage_gets_through(snapshots: Snapshots) -> None:
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    path = snapshots.path("chat:1", MADE_BY)
    whole = path.read_bytes()
    flipped = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in range(0, len(whole), 41)]
    cut = [whole[:length] for length in (0, 5, 20, 100, 300, len(whole) - 1)]
    for damaged in [*flipped, *cut, whole + b"x", b"\xff" * 5000]:
        path.write_bytes(damaged)
        snapshots.ids("chat:1", MADE_BY)  # may still know the ids, must not crash
        path.write_bytes(damaged)
        assert snapshots.load("chat:1", MADE_BY) is None
        assert not path.exists()


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 16_000)
    for number in range(3):
        snapshots.save(f"chat:{number}", MADE_BY, IDS, STATE)
        past = time.time() - 100 + number
        os.utime(snapshots.path(f"chat:{number}", MADE_BY), (past, past))
    assert snapshots.load("chat:0", MADE_BY) is not None  # now the latest used
    snapshots.save("chat:3", MADE_BY, IDS, STATE)
    kept = [number for number in range(4) if snapshots.ids(f"chat:{number}", MADE_BY)]
    assert kept == [0, 2, 3]


def test_one_larger_than_the_budget_and_no_budget_keep_nothing(tmp_path: Path) -> None:
    assert not Snapshots(tmp_path, 100).save("chat:1", MADE_BY, IDS, STATE)
    off = Snapshots(tmp_path, 0)
    assert not off.save("chat:1", MADE_BY, IDS, STATE)
    assert off.load("chat:1", MADE_BY) is None
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("a file where the folder should be")
    assert not Snapshots(tmp_path / "kv", 1 << 20).save("chat:1", MADE_BY, IDS, STATE)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux")
def test_a_full_disk_is_no_error_and_leaves_the_old_one(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    real = os.open
    monkeypatch.setattr(os, "open", lambda _path, _flags, mode: real("/dev/full", os.O_WRONLY, mode))
    assert not snapshots.save("chat:1", MADE_BY, [7], STATE)
    monkeypatch.undo()
    assert snapshots.ids("chat:1", MADE_BY) == IDS


def test_half_written_files_of_the_dead_are_removed(snapshots: Snapshots) -> None:
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    folder = snapshots.path("chat:1", MADE_BY).parent
    old, new = folder / "a.kv.1.part", folder / "b.kv.2.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (1, 1))
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_nobody_else_may_read_them(snapshots: Snapshots) -> None:
    snapshots.save("chat:1", MADE_BY, IDS, STATE)
    assert stat.S_IMODE(snapshots.path("chat:1", MADE_BY).stat().st_mode) == 0o600
