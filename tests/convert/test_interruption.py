"""Killed, stopped, short of memory, without a network: the result is the same file or none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.output import publish

SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)

WORK = """
import os, signal, sys
from pathlib import Path
from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
base, adapter, out, dies_after = sys.argv[1:]
steps = 0
def progress(what, done, total):
    global steps
    steps += 1
    if steps > int(dies_after):
        os.kill(os.getpid(), signal.SIGKILL)
convert(Job(base=Path(base), adapter=Path(adapter), out=Path(out), type_name="Q4_K_M"), progress=progress)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_llama) -> Path:
    return make_llama(tmp_path_factory.mktemp("interruption") / "base", max_shard_size="1MB")


@pytest.fixture(scope="module")
def adapter(base: Path, make_adapter) -> Path:
    return make_adapter(base, base.parent / "adapter")


def test_a_conversion_killed_again_and_again_ends_as_the_same_bytes(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    whole = convert(Job(base=base, adapter=adapter, out=tmp_path / "whole.gguf", type_name="Q4_K_M"))
    out = tmp_path / "killed.gguf"
    for dies_after in (4, 9):
        words = [sys.executable, "-c", WORK, str(base), str(adapter), str(out), str(dies_after)]
        assert subprocess.run(words, check=False).returncode == -SIGKILL
        assert not out.exists()
    produced = convert(Job(base=base, adapter=adapter, out=out, type_name="Q4_K_M"))
    assert 0 < produced.resumed_tensors < len(produced.rows)
    publish(produced.parts, produced.targets)
    assert out.read_bytes() == whole.parts[0].read_bytes()
    assert [path.name for path in tmp_path.glob("killed*")] == ["killed.gguf"]


def test_a_part_of_another_conversion_is_not_gone_on_with(base: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    convert(Job(base=base, adapter=adapter, out=out, type_name="Q8_0"))
    assert convert(Job(base=base, adapter=adapter, out=out, type_name="Q8_0")).resumed_tensors > 0
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**config, "lora_alpha": config["lora_alpha"] * 2})
    )
    try:
        assert convert(Job(base=base, adapter=adapter, out=out, type_name="Q8_0")).resumed_tensors == 0
    finally:
        (adapter / "adapter_config.json").write_text(json.dumps(config))


def test_ctrl_c_leaves_what_is_written_and_says_how_to_go_on(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    code = """
    import os, signal, sys
    from rolekit.convert import pipeline
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    write = pipeline.Output.write
    count = 0
    def interrupted(self, name, pieces):
        global count
        count += 1
        if count == 6:
            os.kill(os.getpid(), signal.SIGINT)
        write(self, name, pieces)
    pipeline.Output.write = interrupted
    from rolekit.cli import main
    sys.argv[0] = "rolekit"
    main()
    """
    out = tmp_path / "m.gguf"
    options = ["--adapter", str(adapter), "--out", str(out), "--type", "Q8_0", "--no-verify"]
    words = ["convert", str(base), *options]
    stopped = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *words], capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on from there" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not out.exists()
    again = subprocess.run(
        [sys.executable, "-m", "rolekit", *words, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(again.stdout)["resumed_tensors"] == 5
    assert out.exists()
    assert not list(tmp_path.glob("*.part*"))


def sparse_llama(folder: Path, template: Path, feed_forward: int) -> int:
    """A Llama of one layer whose weights are a hole in a file; how many bytes it seems to have."""
    hidden, rows = 4096, 768
    config = json.loads((template / "config.json").read_text())
    config |= {
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_hidden_layers": 1,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
    }
    layer = "model.layers.0"
    shapes = {
        "model.embed_tokens.weight": (rows, hidden),
        "lm_head.weight": (rows, hidden),
        "model.norm.weight": (hidden,),
        f"{layer}.input_layernorm.weight": (hidden,),
        f"{layer}.post_attention_layernorm.weight": (hidden,),
        **{f"{layer}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"},
        **{f"{layer}.mlp.{name}_proj.weight": (feed_forward, hidden) for name in ("gate", "up")},
        f"{layer}.mlp.down_proj.weight": (hidden, feed_forward),
    }
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    folder.mkdir()
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((template / name).read_bytes())
    return offset


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS holds on Linux only")
def test_less_address_space_than_the_model_is_enough(base: Path, tmp_path: Path) -> None:
    """And neither a socket nor a second program is used on the way."""
    limit = 640 << 20
    assert sparse_llama(tmp_path / "large", base, 24576) > limit
    code = f"""
    import mmap, resource, socket, subprocess, sys
    from pathlib import Path
    from rolekit.convert.conversion import convert
    from rolekit.convert.job import Job
    resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
    def refused(*_, **__):
        raise AssertionError("not wanted here")
    socket.socket = subprocess.Popen = refused
    base = Path(sys.argv[1])
    with (base / "model.safetensors").open("rb") as file:
        try:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            sys.exit("the limit does not hold")
        except OSError:
            pass
    produced = convert(Job(base=base, out=base / "out.gguf", type_name="Q4_0", threads=2))
    print(produced.size_bytes)
    """
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "large")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200 << 20
