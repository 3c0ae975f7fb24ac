"""An Ollama Modelfile for a converted model: the role block, the chat template, stop words, sampling.

Ollama's templates are Go's. The one written here is made from what the model's own Jinja template puts around every
turn, so that both give the same text. Format: Ollama's docs/modelfile.md and docs/template.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rolekit.engine.layout import Layout
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import ChatTemplate
from rolekit.engine.vocabulary import Vocabulary
from rolekit.messages import Message, Sampling

_MOST_STOPS = 8


@dataclass(frozen=True, slots=True)
class Turns:
    """The text that a chat template puts around turns."""

    before_first_user: str
    before_system: str
    """Empty where the template knows no system turn: its text then opens the first user's."""
    after_system: str
    before_user: str
    """Between a reply and the next question."""
    before_old_reply: str
    before_new_reply: str


def turns_of(template: ChatTemplate, vocabulary: Vocabulary) -> Turns:
    """What template writes around turns, without the BOS where the vocabulary adds it by itself.

    Raises RolekitError when the template cannot put a plain conversation.
    """
    bos = vocabulary.text(vocabulary.bos)
    layout = Layout(template, {"bos_token": bos, "eos_token": vocabulary.text(vocabulary.eos)})
    first, old, between, new = layout.scaffolding(("user", "assistant", "user"))
    asked = layout.turns([Message("system", "s"), Message("user", "u")], continued=False)
    if asked[0].speaker == "system":
        before, after, *_ = layout.scaffolding(("system", "user"))
    else:
        before, after = first, "\n\n"
    if vocabulary.adds_bos and bos:
        first, before = first.removeprefix(bos), before.removeprefix(bos)
    return Turns(first, before, after, between, old, new)


def go_template(turns: Turns) -> str:
    """The same as a Go template over Ollama's .Messages."""
    behind_system = 'and (eq $i 1) (eq (index $.Messages 0).Role "system")'
    before_user = (
        f"{{{{ if eq $i 0 }}}}{_go(turns.before_first_user)}"
        f"{{{{ else if {behind_system} }}}}{_go(turns.after_system)}"
        f"{{{{ else }}}}{_go(turns.before_user)}{{{{ end }}}}"
    )
    return (
        "{{ range $i, $m := .Messages }}"
        f'{{{{ if eq $m.Role "system" }}}}{_go(turns.before_system)}{{{{ $m.Content }}}}'
        f'{{{{ else if eq $m.Role "user" }}}}{before_user}{{{{ $m.Content }}}}'
        f'{{{{ else if eq $m.Role "assistant" }}}}{_go(turns.before_old_reply)}{{{{ $m.Content }}}}'
        "{{ end }}{{ end }}" + _go(turns.before_new_reply)
    )


def modelfile(
    model: Path | str,
    turns: Turns,
    prompter: Prompter,
    sampling: Sampling,
    *,
    system: str = "",
    adapter: Path | None = None,
    licence: str = "",
    context_tokens: int = 8192,
) -> str:
    """The Modelfile's text. model and adapter are named as files beside it (or a model by its name)."""
    lines = [f"FROM {model if isinstance(model, str) else f'./{model.name}'}"]
    if adapter:
        lines.append(f"ADAPTER ./{adapter.name}")
    lines += [f"TEMPLATE {_quoted(go_template(turns))}"]
    if system:
        lines.append(f"SYSTEM {_quoted(system)}")
    lines += [f"PARAMETER stop {_string(text)}" for text in prompter.stop_texts[:_MOST_STOPS]]
    lines += [f"PARAMETER {name} {value:g}" for name, value in _parameters(sampling)]
    lines.append(f"PARAMETER num_ctx {context_tokens}")
    if licence:
        lines.append(f"LICENSE {_quoted(licence)}")
    return "\n".join(lines) + "\n"


def _parameters(sampling: Sampling) -> Iterator[tuple[str, float]]:
    yield "temperature", sampling.temperature
    yield "top_k", sampling.top_k
    yield "top_p", sampling.top_p
    yield "min_p", sampling.min_p
    yield "repeat_penalty", sampling.repeat_penalty
    yield "repeat_last_n", sampling.penalty_tokens
    if sampling.frequency_penalty:
        yield "frequency_penalty", sampling.frequency_penalty
    if sampling.presence_penalty:
        yield "presence_penalty", sampling.presence_penalty


def _go(text: str) -> str:
    """Literal text inside a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    """A Modelfile value of several lines; three quotes in a row would end it."""
    return f'"""{re.sub(chr(34) + "{3,}", chr(34) * 2, text)}"""'


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
