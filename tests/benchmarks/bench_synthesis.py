"""Synthesis in figures: a hundred kills, what the rules make of RoleBench's own rows, what a request costs in time.

    python tests/benchmarks/bench_synthesis.py kills [N]       books of N kills (default 100)
    python tests/benchmarks/bench_synthesis.py rules FOLDER    the rules against released rows, which were cleaned already
    python tests/benchmarks/bench_synthesis.py speed           rows and requests a second against a local server

Everything runs against the scripted server and author of the tests; nothing is sent anywhere.
"""

from __future__ import annotations

import asyncio
import importlib.util
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


def loaded(path: str) -> Any:
    """A module of the tests."""
    name = path.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def kills(number: int) -> None:
    """What was sent, lost and paid twice over so many kills."""
    from rolekit.roles.writing import to_toml

    server, author = loaded("endpoints/server"), loaded("synthesis/author")
    killing = loaded("synthesis/killing")
    api = server.ApiServer(respond=author.Author(), seconds=0.01)
    api.start()
    with tempfile.TemporaryDirectory() as place:
        role_file = Path(place) / "mira.toml"
        role_file.write_text(to_toml(author.MIRA))
        start = time.perf_counter()
        books = killing.killed_often(api, role_file, Path(place), number, 300, longest_seconds=0.15)
        seconds = time.perf_counter() - start
    api.stop()
    print(f"kills {books.kills} in {seconds:.1f} s, runs finished {len(books.runs)}")
    print(f"requests {books.different}, sent {books.sent}, sent again {books.again} (in flight at a kill),")
    print(f"at most {books.most_again} after one kill (concurrency {killing.CONCURRENCY})")
    print(f"answers lost {books.lost}, paid twice {books.paid_twice}")


def rules(folder: Path) -> None:
    """How many released rows the rules would turn down: upper bounds of their false alarms."""
    from rolekit.rolebench.records import read_records, record_files
    from rolekit.roles.role import Role
    from rolekit.synthesis.cleaning import answer_fault, language_fault, question_fault
    from rolekit.synthesis.duplicates import Asked

    for path in record_files(folder):
        records = read_records(path).records
        faults: Counter[str] = Counter()
        questions: defaultdict[str, list[str]] = defaultdict(list)
        for record in records:
            questions[record.role].append(record.question.strip())
            if record.kind == "role_specific" and (fault := question_fault(record.question, record.language)):
                faults[f"question: {fault.reason}"] += 1
            role = Role(name=record.role, description="You are somebody.", language=record.language)
            for reference in record.references:
                found = answer_fault(reference) or (
                    language_fault(role, reference) if record.kind == "role_specific" else None
                )
                if found:
                    faults[f"answer: {found.reason}"] += 1
        start, twins = time.perf_counter(), 0
        for name, texts in questions.items():
            asked = Asked((name, *name.split()))
            for text in texts:
                twin = asked.twin(text)
                twins += bool(twin)
                if not twin:
                    asked.keep(text)
        seconds = time.perf_counter() - start
        answers = sum(len(record.references) for record in records)
        print(f"{path.relative_to(folder)}: {len(records)} questions, {answers} answers; {dict(faults)};")
        print(f"  near duplicates {twins} ({twins / len(records):.1%}) in {seconds:.2f} s")


def speed() -> None:
    """What rolekit itself costs a request, with a server that answers at once."""
    from rolekit.synthesis.generator import open_generator
    from rolekit.synthesis.recipe import ContextInstruct, Recipe
    from rolekit.synthesis.running import run

    server, author = loaded("endpoints/server"), loaded("synthesis/author")
    api = server.ApiServer(respond=author.Author())
    api.start()

    async def once(folder: Path) -> tuple[int, float, float]:
        generator = open_generator(folder, api.ref, concurrency=16)
        task = ContextInstruct(1600, not_knowing=0, refusal=0)
        start, cpu = time.perf_counter(), time.thread_time()
        outcome = await run(Recipe(folder, author.MIRA, task), generator)
        seconds, cpu = time.perf_counter() - start, time.thread_time() - cpu
        await generator.close()
        return outcome.funnel.requests, seconds, cpu

    with tempfile.TemporaryDirectory() as place:
        for life in ("first", "again, all from the journal"):
            requests, seconds, cpu = asyncio.run(once(Path(place)))
            print(
                f"{life}: 1600 rows, {requests} requests in the journal: {seconds:.2f} s, {cpu:.2f} s of this thread"
            )
    api.stop()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    part, *rest = sys.argv[1:] or ["kills"]
    if part == "kills":
        kills(int(rest[0]) if rest else 100)
    elif part == "rules":
        rules(Path(rest[0]))
    else:
        speed()
