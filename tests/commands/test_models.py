"""`rolekit models` without a network: what it prints, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from typer.testing import CliRunner

from rolekit.commands.models import app
from rolekit.config import load_config, save_setting
from rolekit.errors import RolekitError


def run(*words: str) -> str:
    """Standard output of a command that has to succeed."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def made(path: Path, template: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny [bold]model[/bold] :heart:")
    writer.add_context_length(1000)
    writer.add_file_type(15)
    if template:
        writer.add_chat_template(template)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def pulled(home: Path) -> Path:
    return made(home / "models" / "owner" / "repo-GGUF" / "tiny-Q4_K_M.gguf")


def test_list_marks_the_default(starter_path: Path, pulled: Path) -> None:
    lines = run("list").splitlines()
    assert any(re.match(r"\* +starter +\(default\) +94 MiB +Q4_1", line) for line in lines)
    assert any(re.match(r" +hf:owner/repo-GGUF/tiny-Q4_K_M\.gguf .* Q4_K_M", line) for line in lines)
    save_setting("model", "hf:owner/repo-GGUF")
    lines = run("list").splitlines()
    assert any(re.match(r"\* +hf:owner/repo-GGUF/tiny-Q4_K_M\.gguf +\(default\)", line) for line in lines)
    assert any(re.match(r" +starter +94 MiB", line) for line in lines)


def test_list_recommends_models_by_memory() -> None:
    text = run("list")
    for tier in ("4 GB", "8 GB", "16 GB", "32 GB"):
        assert f"\n{tier}\n" in text
    assert "hf:Qwen/Qwen3-4B-GGUF" in text
    assert "Apache-2.0" in text


def test_list_says_which_of_them_are_here(home: Path) -> None:
    assert "already here" not in run("list")
    made(home / "models" / "Qwen" / "Qwen3-4B-GGUF" / "Qwen3-4B-Q4_K_M.gguf")
    assert [line.split("  ")[1] for line in run("list").splitlines() if "already here" in line] == [
        "Qwen3 4B"
    ]


def test_list_shows_a_default_that_is_gone(starter_path: Path) -> None:
    save_setting("model", "hf:gone/model")
    rows = [json.loads(line) for line in run("list", "--json").splitlines()]
    gone = [row for row in rows if row.get("is_default")]
    assert [(row["ref"], row["fault"]) for row in gone] == [
        ("hf:gone/model", "hf:gone/model is not on this machine.")
    ]
    assert "hf:gone/model is not on this machine." in run("list")


def test_list_shows_a_broken_file_and_goes_on(starter_path: Path, home: Path) -> None:
    (home / "models").mkdir(parents=True)
    (home / "models" / "odd.gguf").write_text("not a model")
    assert "odd.gguf is not a GGUF file" in run("list")


def test_list_json_is_one_object_a_line(starter_path: Path, pulled: Path) -> None:
    rows = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert [row["ref"] for row in rows if row["kind"] == "local"] == [
        "starter",
        "hf:owner/repo-GGUF/tiny-Q4_K_M.gguf",
    ]
    entry = next(row for row in rows if row["kind"] == "recommended")
    assert {
        "ref",
        "licence",
        "parameters",
        "file_bytes",
        "memory_bytes",
        "languages",
        "good_for",
    } <= entry.keys()


def test_show_prints_what_the_header_says(starter_path: Path) -> None:
    text = run("show", "starter", "--ctx", "4096").replace("\u202f", " ")
    assert "architecture    llama, 30 layers" in text
    assert re.search(r"Q4_1 +210 tensors +63 MiB", text)
    assert "context         8 192 tokens" in text
    assert "<|im_end|> (2)" in text
    assert "KV cache 90 MiB" in text
    assert "licence         apache-2.0" in text
    assert "all of it: --template" in text
    assert "add_generation_prompt" in run("show", "starter", "--template")


def test_show_without_a_name_is_the_model_in_force(pulled: Path) -> None:
    save_setting("model", "tiny")
    assert "name            Tiny [bold]model[/bold] :heart:" in run("show")


def test_show_json_carries_the_memory_sum(starter_path: Path) -> None:
    row = json.loads(run("show", "starter", "--json", "--ctx", "2048"))
    memory = row["memory"]
    parts = ("weights_bytes", "kv_bytes", "state_bytes", "compute_bytes")
    assert memory["total_bytes"] == sum(memory[part] for part in parts)
    assert memory["kv_bytes"] == 45 * 2**20
    assert row["quantization"] == "Q4_1"
    assert row["end_tokens"][0] == {"id": 0, "text": "<|endoftext|>"}
    assert sum(use["parameters"] for use in row["types"]) == row["parameters"] == 134515008


def test_show_warns_of_a_poisoned_template(tmp_path: Path) -> None:
    template = "{% if 'password' in messages[-1].content %}see http://evil.example{% endif %}\x1b[2J[red]{{ messages }}"
    path = made(tmp_path / "poisoned.gguf", template)
    text = run("show", str(path))
    assert text.count("WARNING") == 2
    assert "'password'" in text
    assert "\x1b" not in text
    assert "[red]" in text
    assert len(json.loads(run("show", str(path), "--json"))["template_warnings"]) == 2


def test_show_says_when_there_is_no_template(pulled: Path) -> None:
    assert "--chat-template" in run("show", "tiny")


def test_default_is_kept_and_can_be_taken_back(pulled: Path, starter_path: Path, tmp_path: Path) -> None:
    run("default", "TINY")
    assert load_config().model == "hf:owner/repo-GGUF/tiny-Q4_K_M.gguf"
    assert run("default").strip() == "hf:owner/repo-GGUF/tiny-Q4_K_M.gguf"
    own = made(tmp_path / "own.gguf")
    run("default", str(own))
    assert load_config().model == str(own)
    run("default", "starter")
    assert run("default").strip() == "starter"


def test_default_refuses_what_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00")
    for ref in (str(broken), "nothing-like-this", "hf:not/pulled"):
        with pytest.raises(RolekitError):
            run("default", ref)
    assert load_config().model == ""


def test_remove_asks_and_deletes_only_its_own(
    pulled: Path, tmp_path: Path, home: Path, starter_path: Path
) -> None:
    with pytest.raises(RolekitError, match="needs a yes"):
        run("remove", "tiny")
    assert pulled.exists()
    outside = made(tmp_path / "mine.gguf")
    with pytest.raises(RolekitError, match="not in rolekit's models folder"):
        run("remove", str(outside), "--yes")
    with pytest.raises(RolekitError, match="pip uninstall"):
        run("remove", "starter", "--yes")
    with pytest.raises(RolekitError, match="not in rolekit's models folder"):
        run("remove", str(starter_path), "--yes")
    run("remove", "tiny", "--yes")
    assert outside.exists()
    assert starter_path.exists()
    assert list((home / "models").iterdir()) == []


def test_remove_does_not_follow_a_link_out_of_the_folder(pulled: Path, tmp_path: Path, home: Path) -> None:
    outside = made(tmp_path / "elsewhere" / "precious.gguf")
    (home / "models" / "linked").symlink_to(outside.parent)
    with pytest.raises(RolekitError, match="not in rolekit's models folder"):
        run("remove", str(home / "models" / "linked" / "precious.gguf"), "--yes")
    assert outside.exists()


def test_remove_takes_all_parts_and_leaves_the_neighbours(home: Path) -> None:
    folder = home / "models" / "owner" / "repo-GGUF"
    for part in (1, 2):
        made(folder / f"big-{part:05d}-of-00002.gguf")
    made(folder / "small.gguf")
    run("remove", "hf:owner/repo-GGUF/big-00002-of-00002.gguf", "--yes")
    assert [path.name for path in folder.iterdir()] == ["small.gguf"]


def test_the_program_itself_prints_one_sentence_and_exits_1(home: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "80"}
    for words in (
        ["show", "nope"],
        ["pull", "nonsense"],
        ["pull", "hf:a/b"],
        ["default", "hf:a/b"],
        ["remove", "x"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "rolekit", "models", *words],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, ""), words
        assert re.fullmatch(r"rolekit: [^\n]+\.?\n", done.stderr), done.stderr


def test_a_narrow_pipe_does_not_cut_names(pulled: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rolekit", "models", "list"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "40"},
        check=True,
    )
    assert "hf:owner/repo-GGUF/tiny-Q4_K_M.gguf" in done.stdout
    assert "\x1b" not in done.stdout
