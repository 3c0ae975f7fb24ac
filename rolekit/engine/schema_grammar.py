"""A JSON schema as a GBNF grammar: a model that is held to it writes nothing but an object of that shape.

Covers what rolekit's own schemas use: object (every property, in the order in which they are written), array, string,
integer, number, boolean, enum and const. Lengths are always bounded, also where the schema gives none: a small model
that never closes a string would fill its context.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

_MOST_CHARACTERS = 600
_MOST_ITEMS = 16
_SHARED = {
    "char": r'[^"\\\x00-\x1f] | "\\" ["\\/bfnrt] | "\\u" [0-9a-fA-F]{4}',
    "integer": r'"-"? ("0" | [1-9] [0-9]{0,8})',
    "number": r'"-"? ("0" | [1-9] [0-9]{0,8}) ("." [0-9]{1,6})?',
    "boolean": r'"true" | "false"',
}


@lru_cache(maxsize=64)
def gbnf_of(schema: str) -> str:
    """The grammar of a schema's JSON text; empty for an empty schema, which asks for plain text.

    `{}` asks for any object, of texts here. Raises ValueError for what is not covered.
    """
    if not schema:
        return ""
    parsed = json.loads(schema)
    rules: dict[str, str] = {}
    _rule("root", parsed or {"type": "object", "additionalProperties": True}, rules)
    used = [name for name in _SHARED if any(name in body.split() for body in _bodies(rules))]
    return "".join(
        f"{name} ::= {body}\n" for name, body in [*rules.items(), *((n, _SHARED[n]) for n in used)]
    )


def _bodies(rules: dict[str, str]) -> list[str]:
    return [body.replace("{", " {") for body in rules.values()]


def _rule(name: str, schema: dict[str, Any], rules: dict[str, str]) -> str:
    """Add the rule of that name, and those it needs; the name."""
    rules[name] = ""  # keeps its place in front of its parts
    rules[name] = _body(name, schema, rules)
    return name


def _body(name: str, schema: dict[str, Any], rules: dict[str, str]) -> str:
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(_literal(json.dumps(value, ensure_ascii=False)) for value in values)
    kind = schema.get("type")
    if kind == "object":
        return _object(name, schema, rules)
    if kind == "array":
        item = _rule(f"{name}-item", schema.get("items", {"type": "string"}), rules)
        least, most = schema.get("minItems", 0), schema.get("maxItems", _MOST_ITEMS)
        return f'"[" {_repeated(item, least, max(least, most))} "]"'
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", _MOST_CHARACTERS)
        return f'"\\"" char{{{least},{max(least, most)}}} "\\""'
    if kind in ("integer", "number", "boolean"):
        return str(kind)
    raise ValueError(f"no grammar for {json.dumps(schema)[:80]}")


def _object(name: str, schema: dict[str, Any], rules: dict[str, str]) -> str:
    properties = schema.get("properties", {})
    if not properties and schema.get("additionalProperties"):
        text = _rule(f"{name}-text", {"type": "string"}, rules)
        pair = f"{name}-pair"
        rules[pair] = f'{text} ": " {text}'
        return f'"{{" {_repeated(pair, 0, _MOST_ITEMS)} "}}"'
    parts = [
        f"{_literal(json.dumps(key, ensure_ascii=False) + ': ')} {_rule(f'{name}-{number}', value, rules)}"
        for number, (key, value) in enumerate(properties.items())
    ]
    if not parts:
        return '"{}"'
    inside = ' ", " '.join(parts)
    return f'"{{" {inside} "}}"'


def _repeated(item: str, least: int, most: int) -> str:
    """item between least and most times, with commas between."""
    if most == 0:
        return '""'
    more = f'{item} (", " {item}){{{max(0, least - 1)},{most - 1}}}' if most > 1 else item
    return more if least else f"({more})?"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
