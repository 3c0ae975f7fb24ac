"""Named presets: the bundled ones, and what a user may add or get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekit.engine.presets import list_presets, load_preset
from rolekit.errors import RolekitError
from rolekit.messages import Sampling


def write(home: Path, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "presets.toml").write_text(text, encoding="utf-8")


def test_every_bundled_preset_loads_and_says_what_it_is_for() -> None:
    presets = list_presets()
    assert {"default", "precise", "lively", "creative", "wild", "mirostat", "greedy"} <= presets.keys()
    for name, about in presets.items():
        assert about.endswith(".")
        assert isinstance(load_preset(name), Sampling)


def test_the_default_works_against_loops_and_greedy_penalizes_nothing() -> None:
    default, greedy = load_preset("default"), load_preset("greedy")
    assert default.dry_multiplier > 0
    assert "\n" in default.dry_breakers
    assert default.repeat_penalty > 1
    assert greedy == Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)
    assert load_preset("mirostat").mirostat == 2


def test_an_unknown_preset_names_the_others() -> None:
    with pytest.raises(RolekitError) as error:
        load_preset("defualt")
    assert "'defualt'" in error.value.what_happened
    assert "Did you mean default?" in error.value.what_to_do
    assert "greedy" in error.value.what_to_do


def test_the_users_presets_add_and_replace(home: Path) -> None:
    write(home, '[greedy]\ntemperature = 0.1\n[mine]\nabout = "Mine."\ntop_k = 7\ndry_breakers = ["|"]\n')
    assert load_preset("greedy").temperature == 0.1
    assert load_preset("mine") == Sampling(top_k=7, dry_breakers=("|",))
    assert list_presets()["mine"] == "Mine."


def test_all_faults_of_the_users_file_at_once(home: Path) -> None:
    write(
        home,
        "loose = 1\n[bad]\ntemprature = 1\ntop_k = 1.5\ntop_p = 2\nmirostat = 3\ndry_breakers = 'x'\nmin_p = true\n",
    )
    with pytest.raises(RolekitError) as error:
        load_preset("default")
    message = error.value.what_happened
    assert "loose is no table" in message
    assert "bad.temprature is unknown, did you mean temperature?" in message
    assert "bad.top_k must be a whole number" in message
    assert "bad.top_p must be between 0 and 1" in message
    assert "bad.mirostat must be 0, 1 or 2" in message
    assert "bad.dry_breakers must be a list of texts" in message
    assert "bad.min_p must be a number" in message


def test_a_file_that_is_no_toml(home: Path) -> None:
    write(home, "[default\n")
    with pytest.raises(RolekitError, match="cannot be read"):
        load_preset("default")
