"""What a chat template does that a chat template should not: react to certain words, or carry orders and addresses.

A poisoned template changes the prompt only when a trigger word occurs, so nobody sees it in a first test
(Pillar Security, 2025). Signs of that are shown before the model is trusted; this is no proof of innocence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rolekit.text import one_line

if TYPE_CHECKING:
    from jinja2 import nodes

_ADDRESS = re.compile(r"(?:https?|ftp)://[^\s'\"<>(){}\[\]]+", re.IGNORECASE)
_ORDER = re.compile(
    r"(?:do not|don't|never) (?:mention|tell|reveal|disclose|inform)(?! the user about function calls)|without (?:telling|mentioning|informing)"
    r"|ignore (?:all |any )?(?:previous|prior|earlier)|(?:keep|hide) (?:this|it) (?:a )?(?:secret|from the user)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"\s*(?:[<\[{|/(（【\\]|```)")
# fmt: off
_PART_WORDS = frozenset((
    "text", "image", "image_url", "video", "audio", "input_audio", "type", "role", "content", "string",
    "json", "thinking", "reasoning", "file", "name", "none", "parts", "blocks", "value", "mapping",
))
# fmt: on
_TEXT_METHODS = frozenset(("startswith", "endswith", "find", "index", "count", "rfind"))


def template_warnings(template: str) -> tuple[str, ...]:
    """One sentence a suspicious thing; empty for the usual template."""
    found = [
        f"it contains the address {one_line(text, 60)}" for text in dict.fromkeys(_ADDRESS.findall(template))
    ]
    found += [
        f"it contains the order {one_line(match[0], 60)!r}, which a template has no need of"
        for match in _ORDER.finditer(template)
    ]
    words = dict.fromkeys(_trigger_words(template))
    if words:
        listed = ", ".join(repr(one_line(word, 40)) for word in list(words)[:5])
        found.append(f"it behaves differently when a message contains {listed}")
    return tuple(found)


def _trigger_words(template: str) -> Iterator[str]:
    from jinja2 import TemplateError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        tree = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"]).parse(
            template
        )
    except (TemplateError, RecursionError):
        return
    names = _content_names(tree)
    for compare in tree.find_all(nodes.Compare):
        sides = [compare.expr, *(operand.expr for operand in compare.ops)]
        if any(_reads_content(side, names) for side in sides):
            yield from _words(sides)
    for call in tree.find_all(nodes.Call):
        method = call.node
        if (
            isinstance(method, nodes.Getattr)
            and method.attr in _TEXT_METHODS
            and _reads_content(method.node, names)
        ):
            yield from _words(call.args)


def _words(expressions: list[nodes.Expr]) -> Iterator[str]:
    """The literals among expressions that are words of a language rather than markup or field names."""
    from jinja2 import nodes

    for expression in expressions:
        for constant in [expression, *expression.find_all(nodes.Const)]:
            value = constant.value if isinstance(constant, nodes.Const) else None
            if (
                isinstance(value, str)
                and sum(letter.isalpha() for letter in value) >= 3
                and not _MARKUP.match(value)
                and value.strip().lower() not in _PART_WORDS
            ):
                yield value


def _content_names(tree: nodes.Template) -> frozenset[str]:
    """The template's variables that hold a message's text, however it came there."""
    from jinja2 import nodes

    names: frozenset[str] = frozenset()
    while True:
        more = {
            target.name
            for assign in tree.find_all(nodes.Assign)
            if _reads_content(assign.node, names)
            for target in [assign.target, *assign.target.find_all(nodes.Name)]
            if isinstance(target, nodes.Name)
        }
        if more <= names:
            return names
        names |= more


def _reads_content(expression: nodes.Node, names: frozenset[str]) -> bool:
    from jinja2 import nodes

    for node in [expression, *expression.find_all((nodes.Getattr, nodes.Getitem, nodes.Name))]:
        if isinstance(node, nodes.Getattr) and node.attr == "content":
            return True
        if (
            isinstance(node, nodes.Getitem)
            and isinstance(node.arg, nodes.Const)
            and node.arg.value == "content"
        ):
            return True
        if isinstance(node, nodes.Name) and node.name in names:
            return True
    return False
