"""Chat templates: found by name or file, never guessed, and harmless whatever is written in them."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import pytest

from rolekit.engine.gguf_header import GgufHeader, Value
from rolekit.engine.sandbox import MAX_OUTPUT_CHARACTERS, MAX_SECONDS, OUTPUT_CHARACTERS_PER_MESSAGE
from rolekit.engine.templates import CannotRender, ChatTemplate, load_template, template_names
from rolekit.errors import RolekitError

TALK = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": "V"},
]
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}


def header(**metadata: Value) -> GgufHeader:
    values = {key.replace("__", "."): value for key, value in metadata.items()}
    return GgufHeader(3, MappingProxyType(values), (), 32, 0, 0)


def rendered(source: str, **variables: object) -> str:
    return ChatTemplate(source, "test").render(TALK, {**VARIABLES, **variables})


def test_the_models_own_template_comes_first() -> None:
    template = load_template(
        None, header(tokenizer__chat_template="{{ messages[0].content }}", general__name="M")
    )
    assert template.render(TALK, VARIABLES) == "S"
    assert template.name == "M"


@pytest.mark.parametrize(
    "metadata", [{}, {"tokenizer__chat_template": " \n"}, {"tokenizer__chat_template": 7}]
)
def test_no_template_is_an_error_that_lists_the_choices(metadata: dict[str, Value]) -> None:
    with pytest.raises(RolekitError) as raised:
        load_template(None, header(**metadata))
    assert "no chat template" in raised.value.what_happened
    for name in [
        "chatml",
        "llama-2",
        "llama-3",
        "gemma",
        "mistral",
        "vicuna",
        "alpaca",
        "chatglm",
        "rocit",
        ".jinja",
    ]:
        assert name in raised.value.what_to_do


def test_a_choice_wins_over_the_model() -> None:
    template = load_template("alpaca", header(tokenizer__chat_template="own"))
    assert "### Instruction:\nU" in template.render(TALK, VARIABLES)


def test_a_file_is_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}", "utf-8")
    assert load_template(str(path), header()).render(TALK, VARIABLES) == "<S><U><A><V>"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RolekitError, match="not UTF-8"):
        load_template(str(path), header())


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RolekitError, match="Did you mean llama-3"):
        load_template("llama3", header())


EXPECTED = {
    "chatml": (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama-2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]",
    "llama-3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "U<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "vicuna": "<s>S USER: U ASSISTANT: A</s>USER: V ASSISTANT:",
    "alpaca": "<s>S\n\n### Instruction:\nU\n\n### Response:\nA</s>\n\n### Instruction:\nV\n\n### Response:\n",
    "rocit": (
        "<s>### Instruction:\nS</s>\n\n### Input:\nU</s>\n\n### Response:\nA</s>\n\n### Input:\nV</s>\n\n### Response:\n"
    ),
    "chatglm": "[gMASK]sop<|system|>\n S<|user|>\n U<|assistant|>\n A<|user|>\n V<|assistant|>\n ",
    "glm-4": "[gMASK]<sop><|system|>\nS<|user|>\nU<|assistant|>\nA<|user|>\nV<|assistant|>\n",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n",
    "phi-3": "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n",
    "mistral-v7": "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]U[/INST]A</s>[INST]V[/INST]",
}
WITHOUT_SYSTEM = {
    "gemma": (
        "<s><start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
        "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n"
    ),
    "mistral": "<s>[INST] U [/INST] A</s>[INST] V [/INST]",
    "chatglm2": "[Round 1]\n\n问：U\n\n答：A\n\n[Round 2]\n\n问：V\n\n答：",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_named_templates_write_their_markup(name: str) -> None:
    assert load_template(name, header()).render(TALK, VARIABLES) == EXPECTED[name]


@pytest.mark.parametrize("name", WITHOUT_SYSTEM)
def test_named_templates_without_a_system_role(name: str) -> None:
    template = load_template(name, header())
    assert template.render(TALK[1:], VARIABLES) == WITHOUT_SYSTEM[name]
    with pytest.raises(CannotRender, match="take turns"):
        template.render(TALK, VARIABLES)


def test_every_name_can_be_loaded() -> None:
    names = template_names()
    assert len(names) >= 18
    for name in names:
        assert "U" in load_template(name, header()).render(TALK[1:], VARIABLES)


def test_what_hugging_face_offers_is_there() -> None:
    assert rendered("{{ bos_token ~ 1 }}") == "<s>1"
    assert rendered("{% generation %}x{% endgeneration %}") == "x"
    assert (
        rendered(
            "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role[:2] }}{% endfor %}"
        )
        == "syusas"
    )
    assert rendered("{{ {'a': 'é'} | tojson }}") == '{"a": "é"}'
    assert rendered("{{ messages[1:] | map(attribute='content') | join('-') }}") == "U-A-V"
    assert (
        rendered(
            "{% set n = namespace(x=0) %}{% for m in messages %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}"
        )
        == "4"
    )
    assert rendered("{{ tools is none }}{{ missing is defined }}") == "TrueFalse"
    assert rendered("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') + f('b').strip('<') }}") == "<a>b>"
    with pytest.raises(CannotRender, match="not like this"):
        rendered("{{ raise_exception('not like this') }}")


def test_the_date_stands_still() -> None:
    """A date that moves would make every prompt of yesterday new."""
    assert rendered("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"


# Each would take the machine's secrets, its time or its memory.
HOSTILE = {
    "globals": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "cycler": "{{ cycler.__init__.__globals__ }}",
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by filter": "{{ (''|attr('__class__')).mro }}",
    "class by format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "class by map": "{{ [''] | map(attribute='__class__') | list }}{{ ([''] | map(attribute='__class__') | first).x.y }}",
    "include": "{% include '/etc/passwd' %}",
    "long range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "nested loops": "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "quiet nested loops": "{% macro m() %}{% for i in range(9999) %}{% for j in range(9999) %}a{% endfor %}{% endfor %}"
    "{% endmacro %}{{ m() | length }}",
    "string product": "{{ 'a' * 10 ** 9 }}",
    "string product, turned": "{{ 1000000000 * 'a' }}",
    "power": "{{ 10 ** 1000000000 }}",
    "growing power": "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "doubling sum": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling tilde": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling block": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set y %}{{ n.x }}{{ n.x }}{% endset %}"
    "{% set n.x = y %}{% endfor %}",
    "doubling join": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = [n.x, n.x]|join %}{% endfor %}",
    "doubling list": "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "nested list": "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "nested tuple key": "{% set n = namespace(x=(1, 1)) %}{% for i in range(99) %}{% set n.x = (n.x, n.x) %}{% endfor %}"
    "{{ {n.x: 1} }}",
    "nested dict": "{% set n = namespace(x={}) %}{% for i in range(99) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}"
    "{{ n.x }}",
    "hoard": "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = n.l + ['a' * 250000] %}{% endfor %}",
    "hoard of slices": "{% set s = 'a' * 250000 %}{% set n = namespace(l=[]) %}{% for i in range(9999) %}"
    "{% set n.l = n.l + [s[1:]] %}{% endfor %}",
    "replace": "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
    "replace filter": "{{ ('a' * 9999)|replace('a', 'b' * 9999) }}",
    "join method": "{{ ('b' * 9999).join(range(9999)|map('string')) }}",
    "wide format": "{{ '{:1000000000}'.format(1) }}",
    "wide format, nested": "{{ '{:{}}'.format(1, 1000000000) }}",
    "wide percent": "{{ '%1000000000d' % 1 }}",
    "starred percent": "{{ '%*d' % (1000000000, 1) }}",
    "wide date": "{{ strftime_now('%1000000000d') }}",
    "center": "{{ 'a'|center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "bytes": "{{ (1).to_bytes(1000000000, 'little') }}",
    "indented json": "{{ [[[[[[[[range(999)|list]]]]]]]]|tojson(indent=1000000000)|length }}{{ 'a' * 10 ** 9 }}",
    "endless output": "{% for i in range(9999) %}{{ 'a' * 9999 }}{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "forking recursion": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "writes the messages": "{{ messages.append(1) }}{{ messages.clear() }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_with_one_sentence(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with pytest.raises((CannotRender, RolekitError)) as raised:
        rendered(HOSTILE[name])
    assert time.monotonic() - started < 4 * MAX_SECONDS
    assert "\n" not in str(raised.value)
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 256 << 20


@pytest.mark.parametrize(
    "source",
    ["{% for %}", "{{ 1 +", "{% nonsense %}", "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "x" * (1 << 21)],
    ids=["for", "open", "tag", "nesting", "long"],
)
def test_what_is_no_template_is_said_to_be_none(source: str) -> None:
    with pytest.raises(RolekitError, match="cannot be used") as raised:
        rendered(source)
    assert "--chat-template" in raised.value.what_to_do


def test_output_is_capped() -> None:
    most = MAX_OUTPUT_CHARACTERS + OUTPUT_CHARACTERS_PER_MESSAGE * len(TALK)
    assert len(rendered("{{ 'a' * n }}", n=most)) == most
    with pytest.raises(CannotRender, match="too much"):
        rendered("b{{ 'a' * n }}", n=most)


def test_templates_bring_no_engine_along() -> None:
    script = (
        "import sys, rolekit.engine.templates as t; t.template_names(); print('llama_cpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
