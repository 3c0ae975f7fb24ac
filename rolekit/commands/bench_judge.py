"""`rolekit bench judge`: a model decides which run plays its roles better, or lists what is wrong with one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands import bench_judge_page as page
from rolekit.commands import common_options as common
from rolekit.commands.progress import advise, progress
from rolekit.errors import RolekitError
from rolekit.paths import expanded, write_text
from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.rolebench.answers import Answer
    from rolekit.rolebench.records import Record


Runs = Annotated[
    list[str], typer.Argument(metavar="RUN…", help="Run folders; three or more are ranked, too.")
]
Against = Annotated[
    str | None,
    typer.Option(metavar="RUN|ANSWERS", help="The reference: a run, or a .jsonl of answers (RoleGPT's)."),
]
Judge = Annotated[
    str, typer.Option("--judge", metavar="REF", help="Who judges: openai:gpt-4o, or a model in this process.")
]
Rubric = Annotated[
    bool, typer.Option("--rubric", help="List the flaws of one run instead: style, knowledge, consistency.")
]
PerRole = Annotated[
    int, typer.Option(min=0, metavar="N", help="Judge N questions a role, chosen by hash; 0: all.")
]
Verdicts = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Where verdicts are kept; else RUN/judge.")
]


def judge(
    runs: Runs, against: Against = None, judge: Judge = "openai:gpt-4o", rubric: Rubric = False,
    per_role: PerRole = 0, out: Verdicts = None, concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None, max_requests: common.MaxRequests = None,
    dry_run: common.DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object a line.")] = False,
) -> None:  # fmt: skip
    """Let a model judge: which run plays its roles better (win rate), or what is wrong with one (--rubric).

    Every pair is judged in both orders, and where they disagree it is a tie. Nothing is paid twice: the same command
    goes on where it stopped.
    """
    folders = [expanded(run) for run in runs]
    if rubric and (len(folders) > 1 or against):
        raise typer.BadParameter("--rubric judges one run.")
    if not rubric and len(folders) + bool(against) < 2:
        raise typer.BadParameter("Give two runs, or one and --against (or --rubric).")
    from rolekit.rolebench.recipe import alone_in
    from rolekit.rolebench.runs import open_run

    folder = expanded(out) if out else folders[0] / "judge"
    records, systems = _load(folders, expanded(against) if against else None, per_role)
    with alone_in(folder):
        data = Path(str(open_run(folders[0]).recipe.get("data_path") or folders[0]))
        desk = _Desk(folder, data, judge, concurrency, max_usd, max_requests, dry_run, as_json)
        try:
            if rubric:
                asyncio.run(desk.flaws(records, next(iter(systems.values()))))
            else:
                reference = list(systems)[-1] if against else ""
                asyncio.run(desk.pairs(records, systems, reference))
        except KeyboardInterrupt:
            advise("Verdicts so far are in the journal; the same command goes on.")
            raise


def _load(
    folders: list[Path], against: Path | None, per_role: int
) -> tuple[tuple[Record, ...], dict[str, tuple[Answer, ...]]]:
    """What was asked (the first run's records), and each system's answers by a name of its own."""
    from rolekit.rolebench.answers import read_answers
    from rolekit.rolebench.records import read_records
    from rolekit.rolebench.runs import is_run, open_run
    from rolekit.rolebench.sampling import sample

    first = open_run(folders[0])
    records = read_records(first.records_file).records
    if per_role:
        records = sample(records, per_role)
    systems: dict[str, tuple[Answer, ...]] = {}
    for path in [*folders, *([against] if against else [])]:
        run = open_run(path) if path.is_dir() or is_run(path) else None
        reading = read_answers(run.answers_file if run else path)
        if reading.faults:
            advise(f"{len(reading.faults)} rows of {path} cannot be used: {reading.faults[0]}")
        name = run.label if run else path.stem
        while name in systems:
            name += "'"
        systems[name] = reading.answers
    return records, systems


class _Desk:
    """A judge, its journal and its folder."""

    def __init__(
        self,
        folder: Path,
        data: Path,
        ref: str,
        concurrency: int,
        max_usd: float | None,
        max_requests: int | None,
        dry_run: bool,
        as_json: bool,
    ) -> None:
        from rolekit.rolebench.casting import Casting, read_descriptions
        from rolekit.roles.library import RoleLibrary

        self.folder, self.dry_run, self.as_json = folder, dry_run, as_json
        self.asker, self.price, self.journal = open_asker(folder, ref, concurrency, max_usd, max_requests)
        self.casting = Casting(RoleLibrary(), read_descriptions(data))
        self.recipe = {"format": 1, "judge": str(self.asker.endpoint)}

    async def pairs(self, records: Any, systems: Any, reference: str) -> None:
        """Compare, write, print."""
        from rolekit.rolebench import judging
        from rolekit.rolebench.pairwise import comparisons, figures, ranks
        from rolekit.rolebench.rows import write_rows

        found, missing = comparisons(records, systems, reference)
        for pair, number in missing.items():
            advise(f"{number} questions are not answered by both of {one_line(pair, 80)} and are left out.")
        if not found:
            await self.asker.close()
            raise RolekitError(
                "There is no question that two runs have answered.", "Judge runs over the same data."
            )
        questions = judging.pair_questions(found, self.casting, self.asker)
        readings = await self._read(questions, judging.USUAL_VERDICT_TOKENS)
        if readings is None:
            return
        outcomes, lacking = judging.outcomes_of(found, readings)
        rows = [judging.verdict_row(one) for one in outcomes]
        write_rows(self.folder / "verdicts.jsonl", rows)
        self._quarantine(questions, readings)
        if not outcomes:
            raise RolekitError("No verdict could be read.", f"Look at {self.folder / 'quarantine.jsonl'}.")
        pair_figures = figures(outcomes)
        self._print([page.pair_json(one) for one in pair_figures], page.pair_lines(pair_figures))
        if len(systems) > 2 and not reference:
            places = ranks(outcomes)
            self._print([page.rank_json(one) for one in places], page.rank_lines(places))
        if lacking:
            advise(f"{len(lacking)} pairs have no verdict; the same command asks again.")

    async def flaws(self, records: Any, answers: Any) -> None:
        """List flaws, write, print."""
        from rolekit.rolebench import judging
        from rolekit.rolebench.joining import join
        from rolekit.rolebench.rows import write_rows
        from rolekit.rolebench.rubric import rubric_figures

        pairs = join(records, answers).pairs
        joined = [(record, answer.text) for record, answer in pairs if answer and answer.text.strip()]
        if not joined:
            await self.asker.close()
            raise RolekitError("The run has no answers to judge.", "Finish it with: rolekit bench run")
        questions = judging.flaw_questions(joined, self.casting, self.asker)
        readings = await self._read(questions, judging.USUAL_FLAW_TOKENS)
        if readings is None:
            return
        judged = [readings.values[index] for index in sorted(readings.values)]
        write_rows(self.folder / "flaws.jsonl", [judging.flaw_row(one) for one in judged])
        self._quarantine(questions, readings)
        if not judged:
            raise RolekitError("No judgement could be read.", f"Look at {self.folder / 'quarantine.jsonl'}.")
        found = rubric_figures(judged)
        self._print([page.rubric_json(found)], page.rubric_lines(found))

    async def _read(self, questions: Any, usual_tokens: int) -> Any:
        """The judge's answers; None where only an estimate was wanted."""
        from rolekit.rolebench.asking import estimate
        from rolekit.rolebench.judging import read_all

        try:
            calls = [question.call for question in questions]
            about = estimate(calls, self.price or _free(), self.journal, usual_tokens)
            advise(page.estimate_line(about, self.price, len(calls)))
            if self.dry_run:
                return None
            with progress() as show:
                return await read_all(
                    questions, self.asker, lambda done, total: show("verdicts", done, total)
                )
        finally:
            if not self.dry_run:
                spent = self.journal.spending()
                if spent.usd or spent.lost_usd:
                    lost = (
                        f", and at most ${spent.lost_usd:.4f} for answers that were lost"
                        if spent.lost_usd
                        else ""
                    )
                    advise(f"Spent so far: ${spent.usd:.4f}{lost}.")
            await self.asker.close()

    def _quarantine(self, questions: Any, readings: Any) -> None:
        from rolekit.rolebench.judging import quarantine_rows
        from rolekit.rolebench.rows import write_rows

        path = self.folder / "quarantine.jsonl"
        rows = quarantine_rows(questions, readings.aside)
        write_rows(path, rows)
        if readings.asked_again or rows:
            advise(
                f"{readings.asked_again} answers of the judge had to be asked for again, {readings.repaired} were"
                f" readable then, {len(rows)} are set aside in {path}."
            )

    def _print(self, rows: list[dict[str, Any]], lines: list[str]) -> None:
        kept = self.folder / "judge.json"
        write_text(kept, json.dumps({**self.recipe, "figures": rows}, ensure_ascii=False, indent=1) + "\n")
        for line in [json.dumps(row, ensure_ascii=False) for row in rows] if self.as_json else lines:
            print(line)


def open_asker(
    folder: Path, ref: str, concurrency: int, max_usd: float | None, max_requests: int | None
) -> tuple[Any, Any, Any]:
    """The judge, its price (None: unknown), and its journal in folder."""
    from rolekit.endpoints.address import is_endpoint
    from rolekit.endpoints.buying import open_buyer
    from rolekit.endpoints.journal import Journal
    from rolekit.endpoints.prices import FREE, price_of
    from rolekit.rolebench.asking import LocalAsker, ServerAsker

    if is_endpoint(ref):
        buyer = open_buyer(folder, ref, concurrency=concurrency, max_usd=max_usd, max_requests=max_requests)
        return ServerAsker(buyer, concurrency), price_of(buyer.client.endpoint), buyer.journal
    from rolekit.commands.opening import ModelChoice, open_backend_aside
    from rolekit.config import load_config
    from rolekit.rolebench.answering import sha256_of
    from rolekit.rolebench.judge_prompts import GRAMMARS

    backend: Any = open_backend_aside(ModelChoice(ref, (), 4096), load_config())
    journal = Journal(folder / "journal.db")
    return LocalAsker(backend, sha256_of(backend.model_path), journal, GRAMMARS.__getitem__), FREE, journal


def _free() -> Any:
    from rolekit.endpoints.prices import FREE

    return FREE
