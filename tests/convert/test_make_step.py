"""The conversion step of `rolekit make` over a Hugging Face folder: a base to chat with, an adapter for it, a merged file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rolekit.commands.make_convert import carry_out, chat_model, inputs
from rolekit.commands.make_plan import Making, Wishes
from rolekit.engine.gguf_header import read_header
from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Role


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_llama) -> Path:
    return make_llama(tmp_path_factory.mktemp("make") / "base")


@pytest.fixture
def making(base: Path, make_adapter, tmp_path: Path, home: Path) -> Making:
    RoleLibrary().save(Role(name="Ada", description="You are Ada."))
    wishes = Wishes("Ada", (), tmp_path, base=str(base), merged="Q8_0", threads=1, quiet=True)
    make_adapter(base, tmp_path / "train" / "adapter")
    return Making(wishes, {"train": {"adapter": "train/adapter"}})


def test_a_folder_as_base_gets_a_model_to_chat_with_and_both_files_are_proved(making: Making) -> None:
    made = making.results["convert"] = carry_out(making)
    assert (made["adapter"], made["model"]) == ("convert/ada.gguf", "convert/ada-q8_0.gguf")
    assert chat_model(making) == made["base"] == str(making.folder / "base/base-q8_0.gguf")
    assert read_header(making.path(made["adapter"])).text("general.type") == "adapter"
    assert read_header(making.path(made["model"])).text("rolekit.role") == "Ada"
    assert set(made["proofs"]) == {"adapter", "model"}
    assert all(proof["verified"] for proof in made["proofs"].values())
    before = {path: path.stat().st_mtime_ns for path in making.folder.rglob("*.gguf")}
    carry_out(making)
    assert (
        before[making.folder / "base/base-q8_0.gguf"]
        == (making.folder / "base/base-q8_0.gguf").stat().st_mtime_ns
    )
    assert before[making.path(made["model"])] == making.path(made["model"]).stat().st_mtime_ns


def test_a_file_that_could_not_be_compared_is_handed_over_only_unproved(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekit.convert.reference_hf.available_memory_bytes", lambda: 1 << 20)
    with pytest.raises(RolekitError, match=r"ada\.gguf is whole but not proved: Divergence.*--no-verify"):
        carry_out(making)
    unproved = replace(making, wishes=replace(making.wishes, verify=False))
    assert carry_out(unproved)["made"] == ["convert/ada.gguf", "convert/ada-q8_0.gguf"]


def test_an_adapter_that_was_trained_again_is_another_input(making: Making) -> None:
    first = inputs(making)
    with (making.folder / "train/adapter/README.md").open("a") as file:
        file.write("trained again\n")
    again = inputs(making)
    assert [name for name in first if first[name] != again[name]] == ["the adapter"]
