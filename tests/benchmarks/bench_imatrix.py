"""What a role's own importance matrix is worth: divergence and SPE of quantized files, and the search for types.

    python tests/benchmarks/bench_imatrix.py MODEL kl|spe|search|oracle [--work DIR] [--data FILE.jsonl]
                                             [--llama-imatrix PATH] [--llama-quantize PATH]

MODEL is `starter` or `tiny`: four layers of 256 columns (K-quants fit), trained for a minute on the bundled roles' words.
Every figure is kept in DIR/results.jsonl as soon as it is there; a part that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import pydoc_data.topics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from imatrix_oracle import quantized_alike, read_by_llama_imatrix, same_matrix
from measuring import starter

from rolekit.convert.calibration import Texts, calibrate
from rolekit.convert.conversations import Conversation
from rolekit.convert.conversion import convert
from rolekit.convert.imatrix import write_imatrix
from rolekit.convert.job import Job
from rolekit.convert.kl_meter import KlMeter, readings_of
from rolekit.convert.output import publish
from rolekit.convert.type_search import search
from rolekit.messages import Message
from rolekit.rolebench.runs import open_run
from rolekit.rolebench.scorers import open_scorer
from rolekit.rolebench.summary import read_run, score_files
from rolekit.roles.block import role_block
from rolekit.roles.library import RoleLibrary

TYPES = ("Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K")
CALIBRATION_TOKENS = 6144
HELD_OUT_TOKENS = 2400
PER_ROLE = 1
ANSWER_TOKENS = 48


def conversations(odd: bool) -> list[Conversation]:
    """The bundled English roles' examples: every other one, so that none is in both halves."""
    found = []
    for entry in RoleLibrary().all():
        role = entry.role
        if role and role.language == "en":
            block = Message("system", role_block(role, "You"), "role")
            for turn in role.examples[int(odd) :: 2]:
                messages = (block, Message("user", turn.user), Message("assistant", turn.reply))
                found.append(Conversation(messages, role.name))
    return found


def general_text() -> str:
    """English that no role speaks, and that is on every machine: the Python manual's language topics."""
    return "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


@dataclass
class Bench:
    """One model's files in one folder."""

    name: str
    folder: Path
    base: Path

    def made(self, name: str, **settings: Any) -> Path:
        """A converted file; made once."""
        out = self.folder / f"{name}.gguf"
        if not out.exists():
            produced = convert(Job(self.base, out, **settings))
            publish(produced.parts, produced.targets)
        return out

    @property
    def exact(self) -> Path:
        """The model that counts as right."""
        return self.made("exact", type_name="F16")

    def imatrix(self, kind: str) -> Path | None:
        """role, general, or none; both on about the same number of tokens."""
        if kind == "none":
            return None
        path = self.folder / f"{kind}.imatrix.gguf"
        if not path.exists():
            started = time.perf_counter()
            if kind == "role":
                texts = Texts(tuple(self.trained_on()), source="half of the bundled roles' examples")
            else:
                size = CALIBRATION_TOKENS * 5 // (1 if self.name == "starter" else 2)
                texts = Texts(plain=general_text()[:size], source="the Python manual")
            matrix = calibrate(self.exact, texts)
            write_imatrix(matrix, path)
            tokens = max(int(entry.counts[0]) for entry in matrix.entries.values())
            self.note(what="calibrated", imatrix=kind, tokens=tokens, seconds=time.perf_counter() - started)
        return path

    def trained_on(self) -> list[Conversation]:
        """Conversations of CALIBRATION_TOKENS tokens, spread over the roles."""
        talks = conversations(odd=False)
        average = np.mean([len(one.ids) for one in readings_of(self.exact, talks[::8], 10**9)])
        wanted = max(1, int(CALIBRATION_TOKENS // average))
        return talks[:: max(1, len(talks) // wanted)]

    def note(self, **row: Any) -> None:
        """Keep a figure, and print it."""
        row = {"model": self.name, **row}
        with (self.folder / "results.jsonl").open("a") as file:
            print(json.dumps(row), file=file)
        print(json.dumps(row), flush=True)

    def rows(self, what: str) -> list[dict[str, Any]]:
        """The figures of one kind so far."""
        path = self.folder / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [row for row in map(json.loads, lines) if row["what"] == what]

    def configurations(self, what: str) -> list[tuple[str, str]]:
        """Types and matrices that have no figure of this kind yet."""
        done = {(row["type"], row["imatrix"]) for row in self.rows(what)}
        wanted = [(kind, matrix) for kind in TYPES for matrix in ("none", "general", "role")]
        return [one for one in wanted if one not in done]


def measure_kl(bench: Bench) -> None:
    """Mean KL on replies of held-out role conversations."""
    todo = bench.configurations("kl")
    if todo:
        meter = KlMeter(bench.exact, readings_of(bench.exact, conversations(odd=True), HELD_OUT_TOKENS))
        print(f"{meter.positions} reply positions")
    for kind, matrix in todo:
        file = bench.made(f"{kind}-{matrix}", type_name=kind, imatrix=bench.imatrix(matrix))
        found = meter.divergences(file)
        means = [float(one.mean()) for one in found]
        bench.note(
            what="kl",
            type=kind,
            imatrix=matrix,
            kl=float(np.concatenate(found).mean()),
            p99=float(np.quantile(np.concatenate(found), 0.99)),
            bytes=file.stat().st_size,
            conversations=means,
        )
    table(bench)


def table(bench: Bench) -> None:
    """A line a type: what each matrix gives, and the role's share of the others' divergence with 95 % intervals."""
    rows = {(row["type"], row["imatrix"]): row for row in bench.rows("kl")}
    for kind in TYPES:
        none, general, role = (rows[kind, matrix] for matrix in ("none", "general", "role"))
        print(
            f"| {bench.name} {kind} | {none['bytes'] / 2**20:.1f} MiB | {none['kl']:.4f} | {general['kl']:.4f} | "
            f"{role['kl']:.4f} | {ratio(role, none)} | {ratio(role, general)} |"
        )


def ratio(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The ratio of means, resampling conversations in pairs."""
    a, b = np.array(one["conversations"]), np.array(other["conversations"])
    picks = np.random.default_rng(1).integers(0, len(a), (4000, len(a)))
    low, high = np.quantile(a[picks].mean(1) / b[picks].mean(1), [0.025, 0.975])
    return f"{one['kl'] / other['kl']:.2f} ({low:.2f} to {high:.2f})"


def measure_spe(bench: Bench, data: Path) -> None:
    """SPE of greedy answers to PER_ROLE role-specific questions a role, and what each matrix changes."""
    if not any(row["type"] == "F16" for row in bench.rows("spe")):
        bench.note(what="spe", type="F16", imatrix="none", **spe(bench, bench.exact, data))
    todo = bench.configurations("spe")
    first = ("Q4_K_M", "Q2_K", "IQ4_XS", "Q3_K_M")  # the most telling ones, where time is short
    for kind, matrix in sorted(todo, key=lambda one: first.index(one[0])):
        file = bench.made(f"{kind}-{matrix}", type_name=kind, imatrix=bench.imatrix(matrix))
        bench.note(what="spe", type=kind, imatrix=matrix, **spe(bench, file, data))
    spe_table(bench)


def spe(bench: Bench, file: Path, data: Path) -> dict[str, Any]:
    """The score of one file: its run, which goes on where it was stopped."""
    run = bench.folder / f"run-{file.stem}"
    settings = {
        "--per-role": PER_ROLE,
        "--kind": "role_specific",
        "--max-tokens": ANSWER_TOKENS,
        "--ctx": 1024,
        "--threads": os.environ.get("OMP_NUM_THREADS", "0"),
    }
    words = [str(word) for option in settings.items() for word in option]
    _rolekit("bench", "run", "--data", str(data), "--model", str(file), "--out", str(run), *words)
    row = json.loads(_rolekit("bench", "score", str(run), "--json").splitlines()[0])
    return {"spe": row["scores"]["SPE"], "ci95": row["ci95"].get("SPE"), "n": row["n"]}


def _rolekit(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rolekit", *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def spe_table(bench: Bench) -> None:
    """What the role's matrix changes against none and against the general one: a type, and all types together."""
    figures = {(row["type"], row["imatrix"]): row for row in bench.rows("spe")}
    for (kind, matrix), row in figures.items():
        print(f"{kind} {matrix}: {row['spe']:.4f} ({row['ci95'][0]:.4f} to {row['ci95'][1]:.4f})")
    for other in ("none", "general"):
        changes = {}
        for kind in TYPES:
            if {(kind, "role"), (kind, other)} <= figures.keys():
                one, two = (_scores(bench.folder / f"run-{kind}-{matrix}") for matrix in ("role", other))
                changes[kind] = {key: one[key] - two[key] for key in one.keys() & two.keys()}
                print(f"{kind} role - {other}: {_interval(changes[kind])}")
        if len(changes) > 1:
            shared = set.intersection(*map(set, changes.values()))
            means = {key: float(np.mean([change[key] for change in changes.values()])) for key in shared}
            print(f"{len(changes)} types together, role - {other}: {_interval(means)}")


def _scores(run: Path) -> dict[tuple[str, str], float]:
    """Role and question to the answer's SPE."""
    reading, saved = read_run(open_run(run))
    items = score_files(reading, saved, [open_scorer("standard")])[0].items_of("SPE")
    return {(item.record.role, item.record.question): item.value.best for item in items}


def _interval(changes: dict[tuple[str, str], float]) -> str:
    """The mean change with its 95 % interval, roles resampled."""
    roles: dict[str, list[float]] = {}
    for (role, _), change in changes.items():
        roles.setdefault(role, []).append(change)
    sums = np.array([sum(values) for values in roles.values()])
    sizes = np.array([len(values) for values in roles.values()])
    picks = np.random.default_rng(1).integers(0, len(sums), (10_000, len(sums)))
    low, high = np.quantile(sums[picks].sum(1) / sizes[picks].sum(1), [0.025, 0.975])
    return f"{sums.sum() / sizes.sum():+.4f} ({low:+.4f} to {high:+.4f}), {sizes.sum()} questions"


def measure_search(bench: Bench) -> None:
    """The smallest file with no more divergence than Q4_K_M and Q3_K_M have."""
    talks = conversations(odd=True)
    meter = KlMeter(bench.exact, readings_of(bench.exact, talks, 2000))
    for kind in ("Q4_K_M", "Q3_K_M"):
        if any(row["type"] == kind for row in bench.rows("search")):
            continue
        matrix = bench.imatrix("role")
        file = bench.made(f"{kind}-role", type_name=kind, imatrix=matrix)
        limit, started = meter.measure(file), time.perf_counter()
        found = search(Job(bench.base, bench.folder / "auto.gguf", imatrix=matrix), talks, limit)
        counts: dict[str, int] = {}
        for name in found.types.values():
            counts[name] = counts.get(name, 0) + 1
        bench.note(
            what="search",
            type=kind,
            limit=limit,
            kl=found.kl,
            bytes=found.size_bytes,
            mix_bytes=file.stat().st_size,
            ratio=found.size_bytes / file.stat().st_size,
            files=found.files,
            types=counts,
            seconds=time.perf_counter() - started,
        )


def measure_oracle(bench: Bench, imatrix: Path, quantize: Path) -> None:
    """llama-imatrix and ours on the same text, and llama-quantize with either's file."""
    text = bench.folder / "text.txt"
    text.write_text(general_text()[:16_000])
    theirs, ours = same_matrix(imatrix, bench.exact, text, bench.note)
    read_by_llama_imatrix(imatrix, bench.exact, ours, bench.note)
    quantized_alike(quantize, bench.exact, {"ours": ours, "theirs": theirs}, bench.note)


def tiny_folder(folder: Path) -> Path:
    """A Llama of four layers with 256 columns and a BPE tokenizer of 2,048 tokens, trained on the roles' words."""
    if (folder / "done").exists():
        return folder
    from tiny_role_model import train

    train(folder, [talk.messages for talk in (*conversations(odd=False), *conversations(odd=True))])
    (folder / "done").touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=["starter", "tiny"])
    parser.add_argument("part", choices=["kl", "spe", "search", "oracle", "table"])
    parser.add_argument("--work", type=Path, default=Path("imatrix-bench"))
    parser.add_argument("--data", type=Path, help="RoleBench's role_specific test.jsonl")
    parser.add_argument("--llama-imatrix", type=Path, help="built from llama.cpp's source")
    parser.add_argument("--llama-quantize", type=Path, help="built from llama.cpp's source")
    given = parser.parse_args()
    os.environ.setdefault("ROLEKIT_HOME", str((given.work / "home").resolve()))
    folder = given.work.resolve() / given.model
    folder.mkdir(parents=True, exist_ok=True)
    base = starter() if given.model == "starter" else tiny_folder(folder / "hf")
    bench = Bench(given.model, folder, base)
    match given.part:
        case "kl":
            measure_kl(bench)
        case "table":
            table(bench)
        case "search":
            measure_search(bench)
        case "spe":
            measure_spe(bench, given.data)
        case "oracle":
            measure_oracle(bench, given.llama_imatrix, given.llama_quantize)


if __name__ == "__main__":
    main()
