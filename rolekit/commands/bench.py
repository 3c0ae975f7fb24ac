"""`rolekit bench`: answers and what they are worth."""

from __future__ import annotations

from rolekit.commands.lazy import lazy_app

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "run": ("rolekit.commands.bench_run", "run"),
    "judge": ("rolekit.commands.bench_judge", "judge"),
    "boundary": ("rolekit.commands.bench_probe", "boundary"),
    "refusals": ("rolekit.commands.bench_probe", "refusals"),
    "continuity": ("rolekit.commands.bench_continuity", "continuity"),
    "score": ("rolekit.commands.bench_score", "score"),
    "report": ("rolekit.commands.bench_report", "report"),
    "compare": ("rolekit.commands.bench_report", "compare"),
}
"""Name: the module and its function. A function's first docstring line is its help."""

app = lazy_app(SUBCOMMANDS, "Run RoleBench, score saved answers, judge, report and compare.")
