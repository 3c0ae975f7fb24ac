"""What the Bench screen has done for it: pacing the drawing, reports, blind comparisons."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.errors import RolekitError

if TYPE_CHECKING:
    from rolekit.rolebench.preferences import BlindSession

_DRAW_SECONDS = 0.25


class Watch:
    """When to draw again, and how long it may still take."""

    def __init__(self, done: int) -> None:
        """done: answers that were there before; they tell nothing about the speed."""
        self._start = self._last = time.monotonic()
        self._from = done
        self.seconds_left: float | None = None

    def due(self, done: int, total: int) -> bool:
        """Whether it is time to draw; seconds_left is then up to date."""
        now = time.monotonic()
        if done > self._from:
            self.seconds_left = (now - self._start) / (done - self._from) * (total - done)
        if now - self._last < _DRAW_SECONDS and done < total:
            return False
        self._last = now
        return True


def report_of(folder: Path) -> Path:
    """The HTML report of a run, just written. Raises RolekitError where there are no answers."""
    from rolekit.rolebench.report import build_report, facts_of
    from rolekit.rolebench.report_files import write_report
    from rolekit.rolebench.runs import open_run
    from rolekit.rolebench.scorers import open_scorer
    from rolekit.rolebench.summary import read_run, score_files

    run = open_run(folder)
    reading, answers = read_run(run)
    scorings = score_files(reading, answers, [open_scorer("standard"), open_scorer("paper")])
    report = build_report(run.label, facts_of(run.recipe), run.finished, reading, answers, scorings)
    files = write_report(folder, report)
    return next(file for file in files if file.suffix == ".html").absolute()


def blind_session(folder: Path, other: Path) -> BlindSession:
    """The blind comparison of two runs; choices are kept in the first one's folder."""
    from rolekit.rolebench.answers import read_answers
    from rolekit.rolebench.pairwise import comparisons
    from rolekit.rolebench.preferences import BlindSession
    from rolekit.rolebench.records import read_records
    from rolekit.rolebench.runs import open_run

    runs = [open_run(folder), open_run(other)]
    systems = {run.folder.name: read_answers(run.answers_file).answers for run in runs}
    found, _ = comparisons(read_records(runs[0].records_file).records, systems)
    if not found:
        raise RolekitError("These two runs have no question in common.", "Choose runs over the same data.")
    return BlindSession(folder / f"blind-{other.name}.jsonl", found)
