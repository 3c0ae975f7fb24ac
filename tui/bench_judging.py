"""A model judges two runs, from the Bench screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.endpoints.address import is_endpoint
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.rolebench.pairwise import PairFigures
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.asking import Asker

Show = Callable[[int, int], None]


async def judge_runs(
    folder: Path,
    other: Path,
    ref: str,
    max_usd: float,
    open_other: Callable[[str], Backend] | None,
    show: Show,
) -> PairFigures:
    """How the run in folder fares against the other; verdicts and journal are kept in folder/judge.

    Raises RolekitError when the judge cannot be asked or the budget is used up; what was answered is kept.
    """
    from rolekit.rolebench import judging
    from rolekit.rolebench.answers import read_answers
    from rolekit.rolebench.casting import Casting, read_descriptions
    from rolekit.rolebench.pairwise import comparisons, figures
    from rolekit.rolebench.recipe import alone_in
    from rolekit.rolebench.records import read_records
    from rolekit.rolebench.rows import write_rows
    from rolekit.rolebench.runs import open_run
    from rolekit.roles.library import RoleLibrary

    runs = [open_run(folder), open_run(other)]
    systems = {run.folder.name: read_answers(run.answers_file).answers for run in runs}
    found, _ = comparisons(read_records(runs[0].records_file).records, systems, other.name)
    if not found:
        raise RolekitError("These two runs have no question in common.", "Choose runs over the same data.")
    casting = Casting(RoleLibrary(), read_descriptions(Path(str(runs[0].recipe.get("data_path", "")))))
    with alone_in(folder / "judge"):
        asker = _asker(folder / "judge", ref, max_usd, open_other)
        try:
            questions = judging.pair_questions(found, casting, asker)
            readings = await judging.read_all(questions, asker, show)
        finally:
            await asker.close()
    outcomes, _ = judging.outcomes_of(found, readings)
    write_rows(folder / "judge" / "verdicts.jsonl", [judging.verdict_row(one) for one in outcomes])
    if not outcomes:
        raise RolekitError("No verdict could be read.", "Choose another judge.")
    return figures(outcomes)[0]


def _asker(folder: Path, ref: str, max_usd: float, open_other: Callable[[str], Backend] | None) -> Asker:
    from rolekit.endpoints.buying import open_buyer
    from rolekit.endpoints.journal import Journal
    from rolekit.engine.backend import LocalBackend
    from rolekit.rolebench.answering import sha256_of
    from rolekit.rolebench.asking import LocalAsker, ServerAsker
    from rolekit.rolebench.judge_prompts import GRAMMARS

    if is_endpoint(ref):
        return ServerAsker(open_buyer(folder, ref, max_usd=max_usd), 8)
    backend = open_other(ref) if open_other else None
    if not isinstance(backend, LocalBackend):
        raise RolekitError("There is no such judge here.", "Give openai:MODEL@URL, or a GGUF model.")
    return LocalAsker(
        backend, sha256_of(backend.model_path), Journal(folder / "journal.db"), GRAMMARS.__getitem__
    )


def verdict_text(found: PairFigures) -> str:
    """The figures in a few lines."""

    def share(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.0%}"

    ends = found.points_interval
    return (
        f"{one_line(found.one, 40)} against {one_line(found.other, 40)}, {count(found.questions)} questions\n"
        f"win rate {found.win_rate:.0%}   won {found.wins}, tied {found.ties}, lost {found.losses}\n"
        f"won and half of the ties {found.points:.0%}, 95 % interval {ends.low:.0%} to {ends.high:.0%}\n"
        f"flipped with the order {share(found.flip_rate)}, longer answer won {share(found.longer_wins)}"
    )
