"""What `rolekit bench` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rolekit.rolebench.wording import decimals, sentences_of_accounts, span
from rolekit.text import count, one_line, sanitize

METRIC_ROWS = ("CUS", "RAW", "SPE", "avg")


def print_summaries(rows: Sequence[dict[str, Any]]) -> None:
    """One table a scorer, and once for all: how many were asked, answered and scored, and what went astray."""
    console = Console(highlight=False)
    for row in rows:
        console.print(summary_table(row))
    n = rows[0]["n"]
    console.print(
        f"asked {count(n['asked'])} · answered {count(n['answered'])} · scored {count(n['scored'])}"
        f" · answers are {rows[0]['length_ratio']:.2f} times as long as their references"
    )
    for sentence in sentences_of_accounts(rows[0]["accounts"]):
        console.print(Text(sentence))


def summary_table(row: dict[str, Any]) -> Table:
    """The figures of one scorer."""
    table = Table(box=None, pad_edge=False, title_justify="left", title_style="bold")
    table.title = Text(f"{row['scorer']}: {sanitize(row['says'])}")
    for heading, side in (
        ("", "left"),
        ("score", "right"),
        ("95 % interval", "left"),
        ("mean of refs", "right"),
        ("n", "right"),
        ("length", "right"),
    ):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for metric in METRIC_ROWS:
        value = row["scores"][metric]
        if value is None:
            table.add_row(metric, "n/a", Text(one_line(row["unscored"][metric], 90)), "", "", "")
            continue
        mean = row["mean_over_references"].get(metric)
        number = row["scored_by_metric"].get(metric)
        ratio = row["length_ratio_by_metric"].get(metric)
        table.add_row(
            metric,
            decimals(value),
            span(row["ci95"][metric]),
            "" if mean is None else decimals(mean),
            "" if number is None else count(number),
            "" if ratio is None else f"{ratio:.2f}x",
        )
    return table
