from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.train.recipe import Recipe
from rolekit.train.recipe_file import example_text, load_recipe, make_recipe, save_recipe


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def flattened(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat |= flattened(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def test_the_example_shows_every_key_with_its_default() -> None:
    shown = flattened(tomllib.loads(example_text()))
    defaults = flattened(Recipe().model_dump(mode="json"))
    sources = shown.pop("data.sources")
    defaults.pop("data.sources")
    assert shown == defaults
    assert make_recipe({"data": {"sources": sources}}).data.sources[0].path == "data.jsonl"


def test_every_fault_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'base = "starter"\nepochs = 3\n[lora]\nrank = 8\nr = "many"\n[optimser]\nlr = 1\n'
        "[optimiser]\nlearning_rate = 1e-4\nclip = -1\n",
    )
    with pytest.raises(RolekitError) as caught:
        load_recipe(path)
    text = caught.value.what_happened
    assert "6 faults" in text
    assert "recipe.toml:2: there is no key epochs. Did you mean run.epochs?" in text
    assert "recipe.toml:4: there is no key lora.rank. Did you mean lora.r?" in text
    assert "recipe.toml:5: lora.r must be a whole number." in text
    assert "recipe.toml:6: there is no key optimser. Did you mean optimiser?" in text
    assert "recipe.toml:9: there is no key optimiser.learning_rate. Did you mean optimiser.lr?" in text
    assert "recipe.toml:10: optimiser.clip has to be greater than or equal to 0." in text


def test_settings_win_over_the_file_and_their_faults_name_them(tmp_path: Path) -> None:
    path = written(tmp_path, '[[data.sources]]\npath = "rows.jsonl"\n[lora]\nr = 8\n')
    recipe = load_recipe(path, ["lora.r=4", "base=hf:some/model", 'roles=["Ada"]', "optimiser.lr = 1e-3"])
    assert (recipe.lora.r, recipe.base, recipe.roles, recipe.optimiser.lr) == (
        4,
        "hf:some/model",
        ("Ada",),
        1e-3,
    )
    assert recipe.data.sources[0].path == str(tmp_path / "rows.jsonl")
    with pytest.raises(
        RolekitError, match=r"--set lora.rr=4: there is no key lora.rr. Did you mean lora.r\?"
    ):
        load_recipe(path, ["lora.rr=4"])
    with pytest.raises(RolekitError, match=r"no key lora\.zzz\. Known keys here: r, alpha, dropout"):
        load_recipe(path, ["lora.zzz=4"])
    with pytest.raises(RolekitError, match="not of the form key=value"):
        load_recipe(path, ["lora.r"])
    with pytest.raises(RolekitError, match="base is no table"):
        load_recipe(path, ["base=starter", "base.r=1"])


def test_a_saved_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    recipe = make_recipe(
        {"data": {"sources": [{"path": str(tmp_path / "a.jsonl"), "weight": 0.5}], "mix": {"general": 2.0}}},
        [
            "lora.rank_pattern={down_proj=32}",
            "optimiser.betas=[0.9, 0.95]",
            "lora.layers_to_transform=[1, 2]",
        ],
    )
    save_recipe(recipe, tmp_path / "saved.toml")
    assert load_recipe(tmp_path / "saved.toml") == recipe


def test_the_hash_says_what_decides_the_result() -> None:
    source = {"path": "/here/a.jsonl"}
    recipe = make_recipe({"data": {"sources": [source]}})
    moved = make_recipe({"data": {"sources": [{"path": "/there/a.jsonl"}]}}, ["run.save_every=5"])
    other = make_recipe({"data": {"sources": [source]}}, ["optimiser.lr=3e-3"])
    assert recipe.hash == moved.hash != other.hash


def test_a_recipe_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=r"cannot be read \(No such file or directory\)"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RolekitError, match="is not TOML"):
        load_recipe(written(tmp_path, "base = [\n"))
    (tmp_path / "recipe.toml").write_bytes(b"base = '\xff'")
    with pytest.raises(RolekitError, match="not UTF-8"):
        load_recipe(tmp_path / "recipe.toml")
    with pytest.raises(RolekitError, match="gives every kind a share of 0"):
        make_recipe({"data": {"mix": {"general": 0}}})
    with pytest.raises(RolekitError, match=r"data.mix.generel"):
        make_recipe({"data": {"mix": {"generel": 1}}})
