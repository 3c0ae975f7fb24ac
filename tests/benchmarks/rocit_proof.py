"""The runs behind rocit.md: train each trial, answer the held-out questions with it, keep everything.

    python tests/benchmarks/rocit_proof.py [--work DIR] [--data DIR] [--seconds N] [--only NAME …] [--threads N]
    python tests/benchmarks/rocit_report.py [--work DIR]

Every step is resumable: what is finished is skipped, a training run goes on from its checkpoint, answers are appended
one by one. --seconds stops the work after that long; run the same command again to go on. Several processes share the
queue: each takes a trial that no other one holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

from filelock import FileLock, Timeout
from measuring import starter
from rocit_data import TRIALS, Trial, split, write_rows

from rolekit.convert.adapter_conversion import convert_adapter
from rolekit.engine.backend import open_local
from rolekit.messages import Message, Request, Sampling
from rolekit.paths import roles_dir, write_text
from rolekit.rolebench.answers import Answer, as_row, read_answers
from rolekit.rolebench.records import read_records
from rolekit.train.base_text import open_base_text
from rolekit.train.dataset import build_dataset
from rolekit.train.loop import Loop, loop_options
from rolekit.train.openings import Openings
from rolekit.train.recipe import Batch, Data, Lora, Optimiser, Recipe, Run, Source
from rolekit.train.sources import read_source
from rolekit.train.stepping import LoopEvent
from rolekit.train.torch_stepper import open_torch

HERE = Path(__file__).parent
ANSWER_TOKENS = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("rocit-proof"))
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data" / "rolebench")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    work: Path = arguments.work.absolute()
    os.environ["ROLEKIT_HOME"] = str(work / "home")
    prepare(work)
    deadline = time.monotonic() + arguments.seconds
    for trial in TRIALS:
        if arguments.only and trial.name not in arguments.only:
            continue
        (work / trial.name).mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(work / trial.name / "lock", timeout=0):
                done = run(trial, work, arguments.data, arguments.threads, deadline)
        except Timeout:
            continue  # another process is at it
        if not done or time.monotonic() > deadline:
            print(f"stopped at {trial.name}; the same command goes on", flush=True)
            return


def prepare(work: Path) -> None:
    """A home with the roles of the benchmark."""
    for file in (HERE / "rocit_roles").glob("*.toml"):
        write_text(roles_dir() / file.name, file.read_text(encoding="utf-8"))


def run(trial: Trial, work: Path, data: Path, threads: int, deadline: float) -> bool:
    """Do what is left of a trial; False when the time was over."""
    folder = work / trial.name
    train_file, test_file = write_rows(trial, split(data, trial.language, trial.roles), work / "data")
    untrained = trial.trains and not (folder / "adapter").exists()
    if untrained and not train(trial, folder, train_file, test_file, deadline):
        return False
    if not trial.scored or time.monotonic() > deadline:
        return not trial.scored
    asyncio.run(answer(trial, folder, train_file, test_file, threads, deadline))
    return True


def recipe_of(trial: Trial, file: Path) -> Recipe:
    """The trial's recipe: rolekit's defaults, and what the trial says otherwise."""
    return Recipe(
        roles=trial.roles,
        condition=trial.condition,
        backend="torch",
        data=Data(sources=(Source(path=str(file)),), eval_fraction=0),
        lora=Lora(**trial.lora),
        optimiser=Optimiser(**trial.optimiser),
        batch=Batch(**trial.batch),
        run=Run(epochs=trial.epochs),
    )


def train(trial: Trial, folder: Path, train_file: Path, test_file: Path, deadline: float) -> bool:
    """Train to the end, or until the deadline. The held-out loss is that of 26 rows: all of one role, or a third."""
    recipe = recipe_of(trial, train_file)
    with open_base_text(starter()) as text:
        rows = build_dataset(recipe, text.maker)
        asked = build_dataset(recipe_of(trial, test_file), text.maker)
    # A held-out set of its own would retrieve from itself, so the retrieval trial has answers only.
    held_out = asked.train[:: len(trial.roles)] if trial.condition == "system" else ()
    log = (folder / "events.jsonl").open("a", encoding="utf-8")

    def watch(event: LoopEvent) -> None:
        values = {field.name: getattr(event, field.name) for field in fields(event)}
        log.write(
            json.dumps({"event": type(event).__name__, "time": time.time(), **values}, default=str) + "\n"
        )
        log.flush()
        if "loss" in values:
            print(
                f"{trial.name}: {type(event).__name__} {values['step']} loss {values['loss']:.4f}", flush=True
            )

    every = max(1, round(len(rows.train) / recipe.batch.rows_per_step))
    options = replace(loop_options(recipe, 2048), eval_every=every)
    options = type(options)(
        **{**{name: getattr(options, name) for name in options.__slots__}, "eval_every": every}
    )
    loop = Loop(
        open_torch(starter(), recipe, "starter"), rows.train, held_out, options, folder,
        f"{recipe.hash}-{rows.hash}", watch,
    )  # fmt: skip
    (folder / "data.json").write_text(json.dumps(rows.report.as_json(), ensure_ascii=False, indent=1))
    alarm = threading.Timer(max(deadline - time.monotonic(), 0.1), loop.cancel.set)
    alarm.daemon = True
    alarm.start()
    outcome = loop.run()
    alarm.cancel()
    return outcome.status != "interrupted"


def _holds(file: Path) -> bool:
    """A trial that was killed before its first answer leaves an empty file."""
    return file.exists() and file.stat().st_size > 0


async def answer(
    trial: Trial, folder: Path, train_file: Path, test_file: Path, threads: int, deadline: float
) -> None:
    """Answer the held-out questions greedily through the chat engine, with the adapter as a GGUF LoRA."""
    file = folder / "answers.jsonl"
    known = {(a.role, a.question) for a in read_answers(file).answers} if _holds(file) else set()
    records = read_records(test_file).records
    dialogues = read_source(Source(path=str(test_file))).dialogues
    shown = train_file if trial.trains else train_file.with_name("retrieval-48.jsonl")
    retrieves = trial.condition == "retrieval"
    trained = read_source(Source(path=str(shown))).dialogues if retrieves else ()
    openings = Openings.of(recipe_of(trial, train_file), trained)
    left = [
        (record, (*openings.before(dialogue), Message("user", record.question.strip())))
        for record, dialogue in zip(records, dialogues, strict=True)
        if (record.role, record.question) not in known
    ]
    adapters = [(gguf_adapter(folder), 1.0)] if trial.trains else []
    if not left:
        return
    backend = open_local(starter(), adapters=adapters, context_tokens=4096, threads=threads, kv_cache_mib=0)
    requests = [
        Request(messages, Sampling(temperature=0.0, top_k=1), max_tokens=ANSWER_TOKENS)
        for _, messages in left
    ]
    with file.open("a", encoding="utf-8") as out:
        async for index, reply in backend.generate_batch(requests):
            record = left[index][0]
            row = as_row(
                Answer(
                    record.role, record.question, reply.text, record.kind, trial.condition, reply.stop_reason,
                    reply.stats.prompt_tokens, reply.stats.generated_tokens, reply.stats.seconds,
                )
            )  # fmt: skip
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
    await backend.close()
    print(f"{trial.name}: {len(left)} answers", flush=True)


def gguf_adapter(folder: Path) -> Path:
    """The trial's adapter as a file that llama.cpp puts on the model."""
    out = folder / "adapter.gguf"
    if not out.exists():
        convert_adapter(folder / "adapter", starter(), out)
    return out


if __name__ == "__main__":
    main()
