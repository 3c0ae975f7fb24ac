"""`rolekit convert`: one command from a base and an adapter to a proved file, and what it prints."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
from typer.testing import CliRunner, Result

from rolekit.commands.convert import app
from rolekit.commands.convert_file import _bytes
from rolekit.commands.models import app as models
from rolekit.convert.beside import modelfile_of
from rolekit.convert.output import alone
from rolekit.engine.gguf_header import read_header
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.engine.vocabulary import open_vocabulary
from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.roles.library import RoleLibrary

SIDECAR = {
    "role": "Sherlock Holmes",
    "recipe_hash": "0123abcd",
    "data_hash": "beef",
    "template": "chatml",
    "base": "owner/tiny-llama",
    "rolekit_version": "0",
}


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def last_json(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_llama) -> Path:
    folder = make_llama(tmp_path_factory.mktemp("commands") / "base")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, make_adapter) -> Path:
    folder = make_adapter(base, base.parent / "adapter")
    (folder / "rolekit.json").write_text(json.dumps(SIDECAR), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(base: Path, adapter: Path) -> dict[str, Any]:
    """The row of one whole conversion."""
    out = base.parent / "holmes.gguf"
    result = run(base, "--adapter", adapter, "--out", out, "--type", "q8_0", "--conversations", 1, "--json")
    assert result.exit_code == 0, result.output
    return last_json(result)


def test_one_command_makes_a_proved_file(made: dict[str, Any], base: Path) -> None:
    out = base.parent / "holmes.gguf"
    assert made["files"] == [str(out)]
    assert made["bytes"] == out.stat().st_size
    assert made["proof"]["verified"]
    assert made["proof"]["reference"] == "Hugging Face + PEFT in fp32"
    assert 0.9 < made["proof"]["checks"]["adapter"]["value"] < 1.1
    assert made["proof"]["tensor_errors"]["blk.0.ffn_up.weight"] > 0
    assert not list(base.parent.glob("*.part*"))


def test_the_file_says_where_it_comes_from(made: dict[str, Any]) -> None:
    metadata = read_header(Path(made["out"])).metadata
    for key in ("role", "recipe_hash", "data_hash", "template", "base"):
        assert metadata[f"rolekit.{key}"] == SIDECAR[key]
    assert metadata["general.license"] == "apache-2.0"
    assert metadata["general.base_model.0.repo_url"] == "https://huggingface.co/owner/tiny-llama"
    shown = CliRunner().invoke(models, ["show", made["out"]], catch_exceptions=False).stdout
    assert re.search(r"made from +\w+ \S", shown)
    assert "base owner/tiny-llama" in shown
    assert "role Sherlock Holmes" in shown
    row = json.loads(CliRunner().invoke(models, ["show", made["out"], "--json"]).stdout)
    assert row["origin"]["recipe_hash"] == "0123abcd"


def test_a_modelfile_and_a_card_lie_beside_it(made: dict[str, Any], base: Path, adapter: Path) -> None:
    card, text = (base.parent / f"holmes.{end}" for end in ("README.md", "Modelfile"))
    assert made["beside"] == [str(card), str(text)]
    assert 'base_model: "owner/tiny-llama"' in card.read_text(encoding="utf-8")
    assert "| mean KL |" in card.read_text(encoding="utf-8")
    lines = text.read_text(encoding="utf-8")
    assert lines.startswith('FROM ./holmes.gguf\nTEMPLATE """')
    assert 'SYSTEM """You are Sherlock Holmes' in lines
    assert 'PARAMETER stop "<|im_end|>"' in lines
    text.write_text("FROM my own\n", encoding="utf-8")
    out = base.parent / "holmes.gguf"
    again = run(base, "--adapter", adapter, "--out", out, "--type", "Q8_0", "--no-verify", "--json")
    assert "holmes.Modelfile was there with another text and is kept" in again.stderr
    assert text.read_text(encoding="utf-8") == "FROM my own\n"


def go(template: str, messages: list[Message]) -> str:
    """What Go makes of a template of ours: its few words put into Jinja's."""
    jinja = template.replace(
        "{{ range $i, $m := .Messages }}", "{% for m in messages %}{% set i = loop.index0 %}"
    )
    for before, after in (
        ('{{ if and (eq $i 1) (eq (index $.Messages 0).Role "system") }}', ""),
        (
            '{{ else if and (eq $i 1) (eq (index $.Messages 0).Role "system") }}',
            "{% elif i == 1 and messages[0].role == 'system' %}",
        ),
        ("{{ if eq $i 0 }}", "{% if i == 0 %}"),
        ("{{ else }}", "{% else %}"),
        ("{{ $m.Content }}", "{{ m.content }}"),
    ):
        jinja = jinja.replace(before, after)
    jinja = re.sub(
        r'\{\{ (else )?if eq \$m\.Role "(\w+)" \}\}',
        lambda m: f"{{% {'el' if m[1] else ''}if m.role == '{m[2]}' %}}",
        jinja,
    )
    jinja = jinja.replace("{{ end }}{{ end }}", "{% endif %}{% endfor %}").replace("{{ end }}", "{% endif %}")
    rows = [{"role": message.speaker, "content": message.text} for message in messages]
    return jinja2.Environment(keep_trailing_newline=True).from_string(jinja).render(messages=rows)


@pytest.mark.parametrize("system", [True, False])
def test_the_modelfiles_template_says_what_the_models_own_says(made: dict[str, Any], system: bool) -> None:
    path = Path(made["out"])
    text = modelfile_of(path, RoleLibrary().find("sherlock-holmes").loaded())
    template = text.partition('TEMPLATE """')[2].partition('"""')[0]
    talk = [Message("user", "Who are you?"), Message("assistant", "Holmes."), Message("user", "Why?")]
    messages = [Message("system", "Be brief."), *talk] if system else talk
    with open_vocabulary(path) as vocabulary:
        wanted = Prompter(load_template(None, read_header(path)), vocabulary).build(messages).ids
        assert tuple(vocabulary.tokenize(go(template, messages), special=True, first=True)) == wanted


def test_a_file_that_fails_keeps_its_part_name(base: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    words = (base, "--adapter", adapter, "--out", out, "--type", "Q4_K_M", "--conversations", 1)
    with pytest.raises(RolekitError, match=r"m\.gguf does not behave like what it was made of \(mean KL\)"):
        run(*words, "--max-kl", 1e-9)
    assert not out.exists()
    assert (tmp_path / "m.gguf.part").exists()
    result = run(*words)
    assert "21 tensors were there already" in result.stderr
    assert re.search(r"mean KL +\S+ +at most 0\.4 +ok", result.stdout)
    assert sorted(path.name for path in tmp_path.glob("m.gguf*")) == ["m.gguf"]


def test_a_file_that_cannot_be_proved_keeps_its_part_name(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without transformers nothing can be compared: said, not passed over; --no-verify hands the same file over."""
    words = (base, "--adapter", adapter, "--out", tmp_path / "m.gguf", "--type", "Q8_0", "--conversations", 1)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "transformers", None)
        with pytest.raises(
            RolekitError, match=r"whole but not proved.* m\.gguf\.part\. .*transformers is not installed"
        ):
            run(*words)
        assert [path.name for path in tmp_path.glob("*.gguf")] == []
        result = run(*words, "--no-verify", "--no-card")
    assert "21 tensors were there already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_one_file_and_a_split_model_do_not_take_each_others_parts(base: Path, tmp_path: Path) -> None:
    words = (base, "--out", tmp_path / "m.gguf", "--type", "F16", "--conversations", 1, "--max-kl", 0)
    split = (*words, "--split-max-size", "1M")
    with pytest.raises(RolekitError, match=r"stays in m\.gguf\.part"):
        run(*split)
    with pytest.raises(RolekitError, match="is a folder: an unfinished split model"):
        run(*words)
    shutil.rmtree(tmp_path / "m.gguf.part")
    with pytest.raises(RolekitError, match=r"keeps the name m\.gguf\.part"):
        run(*words)
    with pytest.raises(RolekitError, match="is an unfinished file"):
        run(*split)


def test_a_tokenizer_that_may_differ_is_reported_and_passes(base: Path, tmp_path: Path) -> None:
    """A rule that llama.cpp lacks, and no chat template: both are said, and the logits are compared all the same."""
    other = Path(shutil.copytree(base, tmp_path / "base"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    letters = {
        "type": "Split",
        "pattern": {"Regex": "[a-m]+|[^a-m]+"},
        "behavior": "Isolated",
        "invert": False,
    }
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [letters, bytes_]}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((other / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (other / "tokenizer_config.json").write_text(json.dumps(config))
    words = (other, "--out", tmp_path / "m.gguf", "--type", "F16", "--conversations", 1, "--json")
    with pytest.raises(RolekitError, match="cpp would split"):
        run(*words)
    result = run(*words, "--allow-tokenizer-differences")
    proof = last_json(result)["proof"]
    tokens = proof["checks"]["tokens"]
    assert (tokens["passed"], tokens["limit"]) == (True, "may differ")
    assert tokens["value"] < 1
    assert "in Hugging Face and" in tokens["note"]
    assert "probe texts otherwise" in result.stderr
    assert proof["notes"] == ["The base has no chat template, so there were no prompts to compare."]
    assert proof["verified"]
    assert proof["checks"]["mean KL"]["value"] < 1e-3


def test_verify_alone_says_the_same(made: dict[str, Any], base: Path, adapter: Path) -> None:
    words = ("verify", made["out"], "--base", base, "--adapter", adapter, "--conversations", 1, "--json")
    result = run(*words)
    assert (result.exit_code, last_json(result)["verified"]) == (0, True)
    assert last_json(result)["tensor_errors"] == made["proof"]["tensor_errors"]
    lost = run("verify", made["out"], "--base", base, "--conversations", 1, "--json")
    assert (lost.exit_code, last_json(lost)["passed"]) == (1, False)


def test_fallbacks_are_listed(tmp_path: Path, make_llama) -> None:
    base = make_llama(
        tmp_path / "base", hidden_size=96, num_attention_heads=3, num_key_value_heads=3, intermediate_size=160
    )
    result = run(base, "--out", tmp_path / "m.gguf", "--type", "Q4_K_S", "--conversations", 1)
    said = r"\d+ tensors have rows of 96, which cannot be Q4_K; they are Q5_0"
    found = re.search(said, result.stdout)
    assert found
    again = run("verify", tmp_path / "m.gguf", "--base", base, "--conversations", 1)
    assert found[0] in again.stdout


def test_subcommand_names_win_and_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RolekitError, match="is an adapter, not a base model"):
        run("./adapter", "--out", "m.gguf")
    assert run("adapter", "--out", "m.gguf").exit_code == 2
    helped = run("--help")
    assert "--split-max-size" in helped.stdout
    assert re.search(r"verify +Prove", helped.stdout)
    assert run().exit_code == 2


def test_a_split_file_is_proved_and_named_in_one_go(base: Path, tmp_path: Path) -> None:
    words = (
        base,
        "--out",
        tmp_path / "m.gguf",
        "--type",
        "F16",
        "--split-max-size",
        "1M",
        "--conversations",
        1,
    )
    row = last_json(run(*words, "--json"))
    assert row["proof"]["verified"]
    assert len(row["files"]) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        Path(file).name for file in row["files"]
    )


def test_small_mistakes_are_sentences(base: Path, tmp_path: Path) -> None:
    for words, said in (
        ((base, "--out", tmp_path / "m.bin"), r"does not end in \.gguf"),
        ((base, "--out", tmp_path / "m.gguf", "--type", "Q9"), "no quantization type 'Q9'"),
        ((base, "--out", tmp_path / "m.gguf", "--split-max-size", "big"), "'big' is no size"),
        ((tmp_path / "nothing", "--out", tmp_path / "m.gguf"), "no model"),
        ((base, "--out", tmp_path / "m.gguf", "--data", tmp_path / "no.jsonl"), "could not be read"),
    ):
        with pytest.raises(RolekitError, match=said):
            run(*words)
    with alone(tmp_path / "m.gguf"), pytest.raises(RolekitError, match="Another rolekit is writing"):
        run(base, "--out", tmp_path / "m.gguf", "--no-verify")
    assert list(tmp_path.iterdir()) == []


def test_the_template_that_training_took_is_embedded(base: Path, adapter: Path, tmp_path: Path) -> None:
    """A base without a template, or with another one: the file has the one its adapter knows, and proves it."""
    trained = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    (trained / "rolekit.json").write_text(
        json.dumps({**SIDECAR, "named_template": "alpaca"}), encoding="utf-8"
    )
    plain = Path(shutil.copytree(base, tmp_path / "base"))
    config = json.loads((plain / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (plain / "tokenizer_config.json").write_text(json.dumps(config))
    words = (plain, "--adapter", trained, "--out", tmp_path / "m.gguf", "--type", "F16", "--conversations", 1)
    row = last_json(run(*words, "--no-card", "--json"))
    assert row["proof"]["checks"]["prompts"]["passed"]
    assert row["proof"]["verified"]
    assert "### Instruction:" in read_header(tmp_path / "m.gguf").text("tokenizer.chat_template")


def test_sizes_are_read() -> None:
    assert [_bytes(text) for text in ("", "4G", "2.5 GB", "500m", "1024")] == [
        0,
        4 * 10**9,
        25 * 10**8,
        5 * 10**8,
        1024,
    ]
