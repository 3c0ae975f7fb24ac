"""Chat templates come from strangers' files: rendered in jinja2's sandbox, with every growing thing counted.

jinja2's own sandbox keeps a template away from Python, not from the machine's time and memory. Here each loop step,
call, filter and new string draws from one budget, so that a hostile template ends with one sentence.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_OUTPUT_CHARACTERS = 256 << 10
OUTPUT_CHARACTERS_PER_MESSAGE = 1 << 10
MAX_SOURCE_CHARACTERS = 1 << 20
_BASE_UNITS, _UNITS_PER_MESSAGE = 2_000_000, 5_000
MAX_SECONDS = 5.0
_MAX_ITEMS = 1 << 16
_MAX_WEIGHT = 100_000
_MAX_BITS = 4096

TEMPLATE_FAULTS = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Everything a template may raise, from a mistake in it to an attack by it."""


def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_FILTERS = _names(
    "abs attr capitalize count d default dictsort e escape first float forceescape groupby int items last length list "
    "lower map max min reject rejectattr reverse select selectattr sort string sum title trim unique upper "
    "wordcount"
)
_STRING_METHODS = _names(
    "capitalize casefold count endswith find format index isalnum isalpha isascii isdecimal isdigit islower isnumeric "
    "isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition "
    "rsplit rstrip split splitlines startswith strip swapcase title upper"
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: _STRING_METHODS,
    dict: frozenset({"get", "items", "keys", "values", "copy"}),
    list: frozenset({"count", "index", "copy"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset(),
    bytes: frozenset(),
}

# A template that writes the date would change the prompt's first tokens every day, and yesterday's chat would have
# to be read anew. So the date stands still, at the day that Llama 3's own template falls back to.
_TODAY = datetime(2024, 7, 26)


class TooMuch(TemplateError):
    """A template asked for more time or memory than any chat template needs."""


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self.refill(0)

    def refill(self, messages: int) -> None:
        self.units = _BASE_UNITS + _UNITS_PER_MESSAGE * messages
        self.characters = MAX_OUTPUT_CHARACTERS + OUTPUT_CHARACTERS_PER_MESSAGE * messages
        self.deadline = time.monotonic() + MAX_SECONDS

    def take(self, units: int) -> None:
        self.units -= units
        if self.units < 0 or time.monotonic() > self.deadline:
            raise TooMuch("it runs too long")

    def text(self, characters: int) -> None:
        if characters > self.characters:
            raise TooMuch("it writes too much")
        self.take(1 + characters)

    def result(self, value: Any) -> Any:
        """value, paid for by its length."""
        if isinstance(value, str):
            self.text(len(value))
        elif isinstance(value, (list, tuple, dict)):
            self.take(1 + len(value))
        else:
            self.take(1)
        return value

    def weigh(self, value: Any) -> Any:
        """value, paid for by everything in it: nested copies of a list count as often as they are seen."""
        weight, waiting = 0, [value]
        while waiting:
            item = waiting.pop()
            weight += 1 + (len(item) if isinstance(item, str) else 0)
            if isinstance(item, Mapping):
                waiting.extend(item.keys())
                waiting.extend(item.values())
            elif isinstance(item, (list, tuple)):
                waiting.extend(item)
            if weight + len(waiting) > max(_MAX_WEIGHT, self.characters):
                raise TooMuch("it builds too much")
        self.take(weight)
        return value


class _Generation(Extension):
    """Hugging Face's {% generation %} marks what is trained on; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counting(NodeTransformer):
    """Rewrites a template so that loops, slices, concatenations and literals go through counting filters."""

    def _through(self, name: str, node: nodes.Node) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = self._through(" steps", node.iter)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = (bound or nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step))
        return nodes.Filter(node.node, " slice", list(bounds), [], None, None, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._through(" concat", nodes.Tuple(node.nodes, "load", lineno=node.lineno))

    def _weighed(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return self._through(" weigh", node)

    visit_List = visit_Dict = _weighed

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._weighed(node) if node.ctx == "load" else node


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """What Hugging Face offers to a chat template, counted. One rendering at a time."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self.budget = budget = _Budget()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            cache_size=0,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=lambda value: value if isinstance(value, (str, int, float)) else budget.weigh(value),
        )
        self.globals = {
            "range": self._range,
            "namespace": self.globals["namespace"],
            "dict": lambda *items, **named: budget.weigh(dict(*items, **named)),
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }
        self.filters = {name: self._counted(self.filters[name]) for name in _FILTERS}
        self.filters |= {
            " steps": self._steps,
            " slice": lambda value, *bounds: budget.result(value[slice(*bounds)]),
            " concat": lambda parts: self.concat(map(str, budget.weigh(parts))),
            " weigh": budget.weigh,
            "safe": lambda value: value,
            "string": lambda value: budget.result(str(budget.weigh(value))),
            "tojson": self._tojson,
            "from_json": lambda text: budget.weigh(json.loads(text)),
            "join": self._join,
            "replace": lambda text, old, new, count=-1: self._replace(str(text), old, new, count),
            "indent": self._indent,
        }

    def _generate(self, source: nodes.Template, *arguments: Any, **named: Any) -> str:
        return super()._generate(_Counting().visit(source), *arguments, **named)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            return self.budget.result(function(*arguments, **named))

        return counted

    def _steps(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.budget.take(1)
            yield item

    def _range(self, *bounds: int) -> range:
        steps = range(*bounds)
        if len(steps) > _MAX_ITEMS:
            raise TooMuch("it loops too often")
        return steps

    def concat(self, parts: Iterable[str]) -> str:
        """Parts as one text, as long as it stays short; jinja2 joins all it renders with this."""
        written, length = [], 0
        for part in parts:
            length += len(part)
            self.budget.text(length if length > self.budget.characters else len(part))
            written.append(part)
        return "".join(written)

    def _join(self, items: Iterable[Any], by: str = "", attribute: str | None = None) -> str:
        values = (self.getattr(item, attribute) for item in items) if attribute else iter(items)
        return self.concat(
            part
            for position, value in enumerate(values)
            for part in ((str(by), self._text(value)) if position else (self._text(value),))
        )

    def _text(self, value: Any) -> str:
        return value if isinstance(value, str) else str(self.budget.weigh(value))

    def _replace(self, text: str, old: str, new: str, count: int | None = -1) -> str:
        found = text.count(old)
        self.budget.text(len(text) + found * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _indent(self, text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        margin = width if isinstance(width, str) else " " * min(width, 64)
        lines = text.split("\n")
        self.budget.text(len(text) + len(lines) * len(margin))
        return "\n".join(
            margin + line if (line or blank) and (number or first) else line
            for number, line in enumerate(lines)
        )

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        shift = None if indent is None else min(int(indent), 16)
        text = json.dumps(
            self.budget.weigh(value),
            ensure_ascii=ensure_ascii,
            indent=shift,
            separators=separators,
            sort_keys=sort_keys,
        )
        return str(self.budget.result(text))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the methods that chat templates use, and none that can make something large of something small."""
        allowed = next((names for kind, names in _METHODS.items() if isinstance(obj, kind)), None)
        return (allowed is None or attr in allowed) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """str.format without wide fields."""
        formatted = super().wrap_str_format(value)
        if formatted is not None and re.search(r"\d{3}|:[^{}]*\{", value.__self__):
            raise SecurityError("a wide field in a format string")
        return formatted

    def call(self, context: Context, obj: Any, /, *arguments: Any, **named: Any) -> Any:
        """A call, paid for by what it gives back and, since it may fork, dearly."""
        self.budget.take(8)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            named = {
                name: value for name, value in named.items() if name not in ("_loop_vars", "_block_vars")
            }
        if isinstance(owner, str) and obj.__name__ == "join":
            return self._join(arguments[0], owner)
        if isinstance(owner, str) and obj.__name__ == "replace":
            return self._replace(owner, *arguments, **named)
        return self.budget.result(super().call(context, obj, *arguments, **named))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator whose result may be much larger than its operands."""
        if operator == "%" and isinstance(left, str) and re.search(r"%[^a-zA-Z%]*(\d{3}|\*)", left):
            raise SecurityError("a wide field in a format string")
        if operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            self._fits(left, len(left) + len(right))
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, (str, list, tuple)) and isinstance(times, int):
                    self._fits(value, len(value) * times)
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_BITS:
                raise TooMuch("it computes with giant numbers")
        return self.budget.result(super().call_binop(context, operator, left, right))

    def _fits(self, value: Any, length: int) -> None:
        if length > (self.budget.characters if isinstance(value, str) else _MAX_ITEMS):
            raise TooMuch("it builds too much")


def _raise_exception(message: str) -> None:
    raise TemplateError(str(message))


def _strftime_now(form: str) -> str:
    if not re.fullmatch(r"(?:[^%]|%-?[A-Za-z%]){0,100}", form):
        raise SecurityError("a strange date format")
    return _TODAY.strftime(form)
