"""Importance matrices: computed as llama-imatrix computes them, kept in its format, used when quantizing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rolekit.cli import app
from rolekit.convert.activations import CHUNK_TOKENS, Collector
from rolekit.convert.adapter_conversion import convert_adapter
from rolekit.convert.calibration import auto_imatrix, calibrate, calibrate_job, texts_for
from rolekit.convert.conversion import convert
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.imatrix import Importance, ImportanceMatrix, read_imatrix, write_imatrix
from rolekit.convert.job import Job
from rolekit.convert.metadata import encode_header
from rolekit.convert.output import publish
from rolekit.convert.source import span
from rolekit.convert.type_plan import read_plan, write_plan
from rolekit.engine.gguf_header import read_header
from rolekit.errors import RolekitError

MakeModel = Callable[..., Path]
IDS = [(7 * index) % 700 + 3 for index in range(150)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_llama: MakeModel) -> Path:
    """A tiny Llama in fp32."""
    return make_llama(tmp_path_factory.mktemp("base"), "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The same as a GGUF in F32."""
    return made(Job(base, tmp_path_factory.mktemp("gguf") / "model.gguf", type_name="F32"))


def made(job: Job) -> Path:
    produced = convert(job)
    publish(produced.parts, produced.targets)
    return job.out


def test_sums_are_those_of_the_inputs_in_transformers(base: Path, model: Path) -> None:
    """Every linear layer's input, squared and summed over tokens, seen by torch hooks."""
    import torch
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    seen: dict[str, np.ndarray] = {}  # type: ignore[type-arg]

    def hook(name: str) -> Callable[..., None]:
        def keep(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[name] = inputs[0].detach()[0].double().square().sum(0).numpy()

        return keep

    for name, module in reference.named_modules():
        if isinstance(module, torch.nn.Linear) and "layers" in name:
            module.register_forward_pre_hook(hook(name))
    with torch.no_grad():
        reference(torch.tensor([IDS]))
    with Collector(model, threads=1) as collector:
        assert collector.add(IDS) == len(IDS)
        matrix = collector.matrix(["test"])
    names = {
        "attn_q": "self_attn.q_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    assert len(matrix.entries) == 14
    for layer in range(2):
        for gguf, hf in names.items():
            entry = matrix.entries[f"blk.{layer}.{gguf}.weight"]
            expected = seen[f"model.layers.{layer}.{hf}"]
            assert entry.counts.tolist() == [len(IDS)]
            assert np.abs(entry.sums - expected).max() < 1e-3 * expected.max(), (
                layer,
                gguf,
            )  # its KV cache is F16


def test_an_adapter_on_top_counts_and_its_own_products_do_not(
    base: Path, model: Path, tmp_path: Path, make_adapter: MakeModel
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    lora = convert_adapter(adapter, base, tmp_path / "lora.gguf")
    merged = made(Job(base, tmp_path / "merged.gguf", adapter=adapter, type_name="F32"))
    with Collector(model, [(lora.path, 1.0)], threads=1) as put_on, Collector(merged, threads=1) as whole:
        put_on.add(IDS)
        whole.add(IDS)
        one, other = put_on.matrix(), whole.matrix()
    assert one.entries.keys() == other.entries.keys()
    for name, entry in one.entries.items():
        assert np.allclose(entry.sums, other.entries[name].sums, rtol=1e-3), name


def test_long_texts_are_cut_and_short_tails_left_out(model: Path) -> None:
    with Collector(model, threads=1) as collector:
        assert collector.add(IDS[:15]) == 0
        with pytest.raises(RolekitError, match="at least 16 tokens"):
            collector.matrix()
        long = [IDS[index % len(IDS)] for index in range(CHUNK_TOKENS + 100)]
        assert collector.add(long) == CHUNK_TOKENS + 100
        assert collector.add(long[: CHUNK_TOKENS + 7]) == CHUNK_TOKENS
        assert collector.matrix().chunk_count == 2


def test_what_is_raised_inside_the_callback_comes_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector(model, threads=1) as collector:
        collector.add(IDS)
        before = collector.matrix().means()

        def interrupted(_address: int) -> bool:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(collector._sums, "_take", interrupted)
            with pytest.raises(KeyboardInterrupt):
                collector.add(IDS)
        with monkeypatch.context() as patch:
            patch.setattr(collector._sums, "_wants", interrupted)
            with pytest.raises(KeyboardInterrupt):
                collector.add(IDS)
        collector.add(IDS)  # and the context is as good as new
        for name, values in collector.matrix().means().items():
            assert np.allclose(values, before[name], rtol=1e-5), name


# -- the file -----------------------------------------------------------------------------------------------------


def test_the_file_comes_back_and_experts_keep_their_counts(tmp_path: Path) -> None:
    matrix = ImportanceMatrix(
        {
            "blk.1.b.weight": Importance(np.arange(8, dtype=np.float32), np.array([4], np.float32)),
            "blk.0.a.weight": Importance(np.arange(6, dtype=np.float32), np.array([2, 0], np.float32)),
        },
        ("roles.jsonl",),
        3,
        512,
    )
    write_imatrix(matrix, tmp_path / "i.gguf")
    again = read_imatrix(tmp_path / "i.gguf")
    assert list(again.entries) == ["blk.0.a.weight", "blk.1.b.weight"]
    assert (again.datasets, again.chunk_count, again.chunk_size) == (("roles.jsonl",), 3, 512)
    means = again.means()
    assert means["blk.1.b.weight"].tolist() == [index / 4 for index in range(8)]
    assert means["blk.0.a.weight"].tolist() == [0, 0.5, 1, 1, 1, 1]  # the second expert saw nothing


def test_the_older_form_is_read(tmp_path: Path) -> None:
    name, values = b"blk.0.attn_q.weight", np.array([2, 4, 6], "<f4")
    entry = struct.pack("<i", len(name)) + name + struct.pack("<ii", 2, 3) + values.tobytes()
    tail = struct.pack("<ii", 2, 5) + b"a.txt"
    path = tmp_path / "i.dat"
    path.write_bytes(struct.pack("<i", 1) + entry + tail)
    matrix = read_imatrix(path)
    assert matrix.means()["blk.0.attn_q.weight"].tolist() == [1, 2, 3]
    assert matrix.datasets == ("a.txt",)
    for cut in (1, 8, 20, 30, len(entry) - 2):
        path.write_bytes((struct.pack("<i", 1) + entry)[:cut])
        with pytest.raises(RolekitError, match=r"i\.dat cannot be used"):
            read_imatrix(path)
    path.write_bytes(struct.pack("<i", 1) + struct.pack("<i", 2**30))
    with pytest.raises(RolekitError, match="cannot be used"):
        read_imatrix(path)


def test_files_that_are_no_importance_matrix_are_one_sentence(tmp_path: Path, model: Path) -> None:
    with pytest.raises(RolekitError, match="of the type model"):
        read_imatrix(model)
    with pytest.raises(RolekitError, match="could not be read"):
        read_imatrix(tmp_path / "nowhere.gguf")
    good = {"general.type": "imatrix"}

    def refused(sentence: str, tensors: list[tuple[str, list[float]]]) -> None:
        table, data = [], b""
        for name, numbers in tensors:
            table.append((name, (len(numbers),), "F32", len(data)))
            raw = np.array(numbers, "<f4").tobytes()
            data += raw + b"\0" * (-len(raw) % 32)
        (tmp_path / "bad.gguf").write_bytes(encode_header(good, table) + data)
        with pytest.raises(RolekitError, match=sentence):
            read_imatrix(tmp_path / "bad.gguf")

    refused("no sums", [("x.counts", [1])])
    refused("sums but no counts", [("x.in_sum2", [1])])
    refused("negative or no numbers", [("x.in_sum2", [-1]), ("x.counts", [1])])
    refused("negative or no numbers", [("x.in_sum2", [float("nan")]), ("x.counts", [1])])
    refused("3 sums for 2 counts", [("x.in_sum2", [1, 2, 3]), ("x.counts", [1, 1])])


# -- in a conversion ----------------------------------------------------------------------------------------------


def test_auto_calibrates_on_the_training_data_once(
    base: Path, tmp_path: Path, make_adapter: MakeModel
) -> None:
    adapter = make_adapter(base, tmp_path / "run" / "adapter")
    rows = [
        '{"messages": [{"role": "user", "content": "Who are you, number '
        + str(number)
        + '?"}, {"role": "assistant", "content": "I am the captain of this ship, and I know the sea."}]}'
        for number in range(6)
    ]
    (tmp_path / "run" / "train.jsonl").write_text("\n".join([*rows, "no conversation"]))
    (tmp_path / "run" / "recipe.toml").write_text('[data]\n[[data.sources]]\npath = "train.jsonl"\n')
    texts = texts_for([], adapter, "")
    assert (texts.source, len(texts.conversations), texts.skipped) == ("train.jsonl", 6, 1)
    job = Job(base, tmp_path / "out.gguf", adapter=adapter, type_name="Q4_K_M")
    path = auto_imatrix(job, texts)
    first = path.stat().st_mtime_ns
    assert auto_imatrix(job, texts) == path
    assert path.stat().st_mtime_ns == first
    assert auto_imatrix(job, texts_for([], adapter, "", limit=3)).stat().st_mtime_ns != first
    assert sorted(file.name for file in tmp_path.glob("out*")) == ["out.imatrix.gguf"]
    means = read_imatrix(path).means()
    with_it = made(Job(base, tmp_path / "with.gguf", adapter=adapter, type_name="Q4_K_M", imatrix=path))
    without = made(Job(base, tmp_path / "without.gguf", adapter=adapter, type_name="Q4_K_M"))
    headers = [read_header(file) for file in (with_it, without)]
    assert headers[0].tensors == headers[1].tensors  # types and places
    # What llama-quantize notes, with the file's name in place of its path.
    assert {key: value for key, value in headers[0].metadata.items() if key.startswith("quantize.")} == {
        "quantize.imatrix.file": "out.imatrix.gguf",
        "quantize.imatrix.dataset": "train.jsonl",
        "quantize.imatrix.entries_count": len(means),
        "quantize.imatrix.chunks_count": 1,
    }
    assert not any(key.startswith("quantize.") for key in headers[1].metadata)
    assert weighted_error(base, adapter, with_it, means, tmp_path) < weighted_error(
        base, adapter, without, means, tmp_path
    )


def weighted_error(
    base: Path,
    adapter: Path,
    file: Path,
    means: dict[str, np.ndarray],
    tmp_path: Path,  # type: ignore[type-arg]
) -> float:
    """Squared error of all weights, each column by its importance."""
    exact_path = tmp_path / "exact.gguf"
    exact = GgufSource(
        exact_path if exact_path.exists() else made(Job(base, exact_path, adapter=adapter, type_name="F32"))
    )
    stored = GgufSource(file)
    total = 0.0
    for name, weights in means.items():
        index = span(0, exact.shape(name)[0])
        total += float((weights * (exact.rows(name, index) - stored.rows(name, index)) ** 2).sum())
    exact.close()
    stored.close()
    return total


def test_plain_text_is_cut_like_llama_imatrix_does(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The sea is calm tonight, and the captain sleeps. " * 120)
    texts = texts_for([tmp_path / "text.txt"], None, "")
    with Collector(model, threads=1) as collector:
        ids = collector.vocabulary.tokenize(texts.plain, special=False)
    matrix = calibrate(model, texts, threads=1)
    whole = len(ids) // CHUNK_TOKENS
    assert whole >= 2
    assert {int(entry.counts[0]) for entry in matrix.entries.values()} == {whole * CHUNK_TOKENS}
    assert matrix.chunk_count == whole
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(RolekitError, match="is empty"):
        texts_for([tmp_path / "empty.txt"], None, "")


def test_the_command_writes_a_file_and_an_imatrix_of_another_model_is_refused(
    base: Path, model: Path, tmp_path: Path, make_llama: MakeModel
) -> None:
    out = tmp_path / "roles.gguf"
    result = CliRunner().invoke(
        app, ["convert", "imatrix", str(model), "--out", str(out), "--conversations", "4", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert '"weights": 14' in result.stdout
    assert read_imatrix(out).datasets == ("the bundled roles",)
    other = make_llama(tmp_path / "other", "float32", hidden_size=512, num_hidden_layers=1)
    with pytest.raises(RolekitError, match="importance matrix has 256 columns"):
        convert(Job(other, tmp_path / "other.gguf", type_name="Q4_K_M", imatrix=out))
    ours = read_imatrix(out).means()
    some = {name: values for name, values in ours.items() if "attn_q" not in name}
    produced = convert(Job(model, tmp_path / "some.gguf", type_name="Q4_K_M"), imatrix=some)
    assert any("lacks 2 weights" in sentence for sentence in produced.warnings)
    with pytest.raises(RolekitError, match="none of this model's weights"):
        convert(Job(model, tmp_path / "none.gguf", type_name="Q4_K_M"), imatrix={"x": ours.popitem()[1]})
    assert calibrate_job(Job(base, tmp_path / "x.gguf"), texts_for([], None, "", limit=2)).entries


# -- plan files ---------------------------------------------------------------------------------------------------


def test_a_plan_file_decides_and_its_faults_are_named(base: Path, tmp_path: Path) -> None:
    plan = tmp_path / "types.toml"
    plan.write_text("[types]\n'attn_v' = \"q6_k\"\n'blk\\.0\\.' = \"Q8_0\"\n")
    file = GgufSource(made(Job(base, tmp_path / "planned.gguf", type_name="Q4_K_M", plan=plan)))
    assert file.dtype("blk.0.attn_v.weight") == "Q6_K"  # the first pattern wins
    assert file.dtype("blk.0.attn_q.weight") == "Q8_0"
    assert file.dtype("blk.1.attn_q.weight") == "Q4_K"
    file.close()
    write_plan({"blk.0.attn_q.weight": "Q5_K", "output.weight": "Q8_0"}, plan, "made by a test")
    overrides = read_plan(plan)
    assert [override.type_name for override in overrides] == ["Q5_K", "Q8_0"]
    assert overrides[0].matches("blk.0.attn_q.weight")
    assert not overrides[0].matches("blk.10.attn_q.weight")
    for text, sentence in [
        ("[types]\n'(' = 'Q4_K'\n'x' = 'Q9'\n", "2 fault"),
        ("[types]\nx = 3\n", "types.x"),
        ("[typos]\nx = 'Q4_K'\n", "typos"),
        ("[types", "no TOML"),
        ("[types]\n'' = 'Q4_K'\n", "empty pattern"),
    ]:
        plan.write_text(text)
        with pytest.raises(RolekitError, match=sentence):
            read_plan(plan)
    plan.write_text("[types]\n'attn_w' = 'Q4_K'\n")
    with pytest.raises(RolekitError, match="match no weight of this model"):
        convert(Job(base, tmp_path / "idle.gguf", plan=plan))
    plan.write_text("[types]\n'^(([a-z.0-9_])+.)+Q$' = 'Q4_K'\n")
    with pytest.raises(RolekitError, match=r"takes forever|match no weight"):
        convert(Job(base, tmp_path / "slow.gguf", plan=plan))
