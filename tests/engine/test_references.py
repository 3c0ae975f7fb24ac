"""REF: every way to name a model, and what is said when it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekit.config import save_setting
from rolekit.engine.references import HubRef, parse_hub, quantization_of, ref_of, resolve, shard_names
from rolekit.errors import RolekitError


@pytest.fixture
def pulled(home: Path) -> dict[str, Path]:
    """Three fetched models (empty files are enough here)."""
    names = [
        "Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf",
        "bartowski/Llama-3.2-3B-Instruct-GGUF/Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        "bartowski/Llama-3.2-3B-Instruct-GGUF/Llama-3.2-3B-Instruct-Q8_0.gguf",
    ]
    paths = {}
    for name in names:
        path = home / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        paths[name] = path
    return paths


def test_without_a_choice_it_is_the_starter(starter_path: Path) -> None:
    assert resolve(None) == starter_path
    assert resolve("starter") == starter_path


def test_the_chosen_model_wins_over_the_starter(tmp_path: Path) -> None:
    model = tmp_path / "mine.gguf"
    model.touch()
    save_setting("model", str(model))
    assert resolve(None) == model


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "my model.gguf"
    model.touch()
    assert resolve(str(model)) == model
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert resolve("my model.gguf") == Path("my model.gguf")
    assert resolve("~/my model.gguf") == model


def test_a_fetched_model_is_found_by_its_hub_name(pulled: dict[str, Path]) -> None:
    for name, path in pulled.items():
        assert resolve(f"hf:{name}") == path
        assert ref_of(path) == f"hf:{name}"
    assert resolve("hf:Qwen/Qwen3-4B-GGUF") == pulled["Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf"]
    assert resolve("hf:bartowski/Llama-3.2-3B-Instruct-GGUF").name == "Llama-3.2-3B-Instruct-Q4_K_M.gguf"


@pytest.mark.parametrize(
    "ref", ["qwen", "Qwen3-4B", "qwen3 4b", "Qwen3-4B-Q4_K_M.gguf", "Qwen/Qwen3-4B-GGUF", "QWEN3_4B"]
)
def test_a_bare_name_finds_its_model(pulled: dict[str, Path], ref: str) -> None:
    assert resolve(ref).name == "Qwen3-4B-Q4_K_M.gguf"


def test_a_name_that_fits_several_models_lists_them(pulled: dict[str, Path]) -> None:
    with pytest.raises(RolekitError, match="could be 2 models") as caught:
        resolve("llama")
    assert str(caught.value).count("hf:bartowski/Llama-3.2-3B-Instruct-GGUF/") == 2


def test_a_misspelt_name_is_answered_with_the_nearest(pulled: dict[str, Path]) -> None:
    with pytest.raises(RolekitError, match=r"no model called 'qwne3-4b'.*Did you mean hf:Qwen/Qwen3-4B-GGUF"):
        resolve("qwne3-4b")
    with pytest.raises(RolekitError, match="Did you mean starter"):
        resolve("startr")


def test_what_is_not_fetched_names_the_command(home: Path) -> None:
    with pytest.raises(RolekitError, match=r"rolekit models pull hf:Qwen/Qwen3-8B-GGUF$"):
        resolve("hf:Qwen/Qwen3-8B-GGUF")
    with pytest.raises(RolekitError, match=r"rolekit models pull hf:Qwen/Qwen3-8B-GGUF/a\.gguf$"):
        resolve("https://huggingface.co/Qwen/Qwen3-8B-GGUF/blob/main/a.gguf?download=true")
    with pytest.raises(RolekitError, match=r"rolekit models pull hf:Qwen/Qwen3-8B-GGUF$"):
        resolve("Qwen/Qwen3-8B-GGUF")


def test_a_missing_file_is_compared_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "holmes-q4.gguf").touch()
    with pytest.raises(RolekitError, match=r"no model at .*holmes-q5.*Did you mean .*holmes-q4\.gguf"):
        resolve(str(tmp_path / "holmes-q5.gguf"))


def test_folders_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="without a model"):
        resolve(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(RolekitError, match="has to be converted"):
        resolve(str(tmp_path))
    (tmp_path / "model.gguf").touch()
    with pytest.raises(RolekitError, match=r"Name one of them: .*model\.gguf"):
        resolve(str(tmp_path))


def test_servers_come_later() -> None:
    with pytest.raises(RolekitError, match="runs on a server"):
        resolve("openai:gpt-4o@http://localhost:8000/v1")


def test_a_split_model_is_whole_or_refused(tmp_path: Path) -> None:
    names = shard_names("m-00002-of-00003.gguf")
    assert names == ("m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf")
    for name in names:
        (tmp_path / name).touch()
    assert resolve(str(tmp_path / names[2])) == tmp_path / names[0]
    (tmp_path / names[1]).unlink()
    with pytest.raises(RolekitError, match=r"one of 3 parts, and m-00002-of-00003\.gguf is missing"):
        resolve(str(tmp_path / names[0]))


@pytest.mark.parametrize(
    "ref",
    [
        "hf:",
        "hf:owner",
        "hf:../../etc/passwd.gguf",
        "hf:owner/../x.gguf",
        "hf:owner/repo/../../../x.gguf",
        "hf:owner/repo//etc/x.gguf",
        "hf:owner/repo/model.safetensors",
        "hf:owner/repo/a\x1b[2J.gguf",
        "hf:own er/repo",
    ],
)
def test_what_is_no_hub_name_is_refused(ref: str) -> None:
    with pytest.raises(RolekitError, match="does not name a model on the hub") as caught:
        parse_hub(ref)
    assert "\x1b" not in str(caught.value)


def test_hub_names_are_taken_apart() -> None:
    assert parse_hub("hf:a/b") == HubRef("a/b")
    assert parse_hub("hf:a/b/sub/c.GGUF") == HubRef("a/b", "sub/c.GGUF")
    assert parse_hub("https://huggingface.co/a/b/resolve/main/sub/c.gguf") == HubRef("a/b", "sub/c.gguf")
    assert parse_hub("https://huggingface.co/a/b/") == HubRef("a/b")


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("x-IQ2_XXS.gguf", "IQ2_XXS"),
        ("x-fp16.gguf", "F16"),
        ("x-BF16-00001-of-00002.gguf", "BF16"),
        ("model-Q4_K_L.gguf", "Q4_K_L"),
        ("Qwen3-4B.gguf", ""),
        ("q-and-a.gguf", ""),
    ],
)
def test_a_file_name_says_its_quantization(name: str, quantization: str) -> None:
    assert quantization_of(name) == quantization
