"""A file being written survives its writer: what is complete stays, what is not is written again."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rolekit.convert.output import Output, Region, alone, check_disk, journal_of, publish
from rolekit.errors import RolekitError

HEADER = b"GGUF" + b"\0" * 28
REGIONS = [Region("a", 32, 64), Region("b", 96, 32), Region("c", 128, 10)]


def test_tensors_come_in_any_order_and_end_where_they_belong(tmp_path: Path) -> None:
    part = tmp_path / "m.gguf.part"
    with Output(part, HEADER, REGIONS, "key") as output:
        output.write("c", [b"c" * 10])
        output.write("a", [b"a" * 60, b"A" * 4])
        output.write("b", [b"b" * 32])
        output.seal()
    assert part.read_bytes() == HEADER + b"a" * 60 + b"A" * 4 + b"b" * 32 + b"c" * 10
    publish([part], [tmp_path / "m.gguf"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]


def test_a_killed_writer_leaves_its_complete_tensors(tmp_path: Path) -> None:
    part = tmp_path / "m.gguf.part"
    code = f"""
    import os, signal
    from pathlib import Path
    from rolekit.convert.output import Output, Region
    output = Output(Path({str(part)!r}), {HEADER!r}, [Region("a", 32, 64), Region("b", 96, 32), Region("c", 128, 10)], "key")
    output.write("a", [b"a" * 64])
    def half():
        yield b"b" * 10
        os.kill(os.getpid(), signal.SIGKILL)
    output.write("b", half())
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -9
    with journal_of(part).open("a") as journal:
        journal.write('{"tensor": "b", "crc')  # half a line
    with Output(part, HEADER, REGIONS, "key") as output:
        assert output.done == {"a"}
        output.write("b", [b"B" * 32])
    with Output(part, HEADER, REGIONS, "key") as output:
        assert output.done == {"a", "b"}
        output.write("c", [b"c" * 10])
        output.seal()
    assert part.read_bytes() == HEADER + b"a" * 64 + b"B" * 32 + b"c" * 10


@pytest.mark.parametrize("change", ["key", "header", "bytes", "length"])
def test_what_belongs_to_another_conversion_or_is_damaged_is_not_trusted(tmp_path: Path, change: str) -> None:
    part = tmp_path / "m.gguf.part"
    with Output(part, HEADER, REGIONS, "key") as output:
        output.write("a", [b"a" * 64])
    if change == "bytes":
        with part.open("r+b") as file:
            file.seek(40)
            file.write(b"!")
    if change == "length":
        with part.open("ab") as file:
            file.write(b"!")
    header = HEADER[:-1] + b"!" if change == "header" else HEADER
    with Output(part, header, REGIONS, "other" if change == "key" else "key") as output:
        assert output.done == frozenset()
        assert part.stat().st_size == 138


def test_a_tensor_of_the_wrong_size_is_a_bug_and_noted_nowhere(tmp_path: Path) -> None:
    part = tmp_path / "m.gguf.part"
    with Output(part, HEADER, REGIONS, "key") as output:
        for pieces in ([b"b" * 31], [b"b" * 32, b"b"]):
            with pytest.raises(ValueError, match="b: "):
                output.write("b", pieces)
        with pytest.raises(ValueError, match="3 tensors were never written, a among them"):
            output.seal()


def test_one_converter_for_each_output(tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    with alone(out), pytest.raises(RolekitError, match=r"Another rolekit is writing m\.gguf"), alone(out):
        pass
    with alone(out):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_out_before_the_work(tmp_path: Path) -> None:
    check_disk(tmp_path, 1, "The file")
    with pytest.raises(RolekitError, match=r"The file needs .* TiB, and the disk of .* has .* free"):
        check_disk(tmp_path, 1 << 60, "The file")
