"""What a turn in a room costs: tokens evaluated and seconds to the first one, each role with its own KV and without.

python tests/benchmarks/bench_room.py [--turns 40] [--roles 2 3]

"Without" is what one shared cache does: every change of speaker meets another role block, so all is read again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

from measuring import fresh_home, run, starter

from rolekit.chat.casting import Player
from rolekit.chat.events import Finished
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.engine.backend import open_local
from rolekit.messages import Sampling
from rolekit.roles.library import RoleLibrary

CAST = ("sherlock-holmes", "elizabeth-bennet", "captain-nemo", "hamlet")
LINES = (
    "Good evening to you all.", "Has anybody seen the letter that lay here?", "The wind is rising, I think.",
    "What would you do in my place?", "Tell me of the last journey you made.", "And who came with you?",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """One reply."""

    prompt: int
    evaluated: int
    new: int
    """Tokens that were said since the role last spoke: what has to be read in any case."""
    first_seconds: float


async def costs(roles: int, turns: int, *, own_kv: bool) -> list[Cost]:
    """The replies of a round-robin room, the first round left out."""
    library = RoleLibrary()
    players = [Player(library.find(slug).loaded(), slug) for slug in CAST[:roles]]
    backend = open_local(starter(), context_tokens=8192, threads=0)
    options = ChatOptions(user="Ann", seed=7, max_tokens=32, guard=False, sampling=Sampling(temperature=0.7))
    found: list[Cost] = []
    with Store() as store:
        session = Session.start_room(store, backend, players, options=options, turns="round-robin")
        for seat in session.seats:
            seat.kv_name = seat.kv_name if own_kv else session.id
        held: dict[str, int] = {}
        for turn in range(turns):
            events = [event async for event in session.say(LINES[turn % len(LINES)])]
            stats = next(event.reply.stats for event in events if isinstance(event, Finished))
            slug = session.slug
            new = stats.prompt_tokens - held.get(slug, 0)
            if slug in held:
                found.append(Cost(stats.prompt_tokens, stats.evaluated_tokens, new, stats.ttft_seconds))
            held[slug] = stats.prompt_tokens + stats.generated_tokens
    await backend.close()
    return found


def main() -> None:
    """Print a table, one line for each number of roles and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--roles", type=int, nargs="+", default=[2, 3])
    given = parser.parse_args()
    print(
        f"{'roles':>5} {'KV':<7} {'prompt at end':>13} {'new':>6} {'evaluated':>10} {'beyond new':>10} {'ttft':>8}"
    )
    for roles in given.roles:
        medians = []
        for own in (True, False):
            with fresh_home():
                start = time.perf_counter()
                rows = run(costs(roles, given.turns, own_kv=own))
            evaluated = statistics.mean(row.evaluated for row in rows)
            new = statistics.mean(row.new for row in rows)
            ttft = statistics.median(row.first_seconds for row in rows)
            medians.append((evaluated, ttft))
            print(
                f"{roles:>5} {'own' if own else 'shared':<7} {rows[-1].prompt:>13} {new:>6.1f} {evaluated:>10.1f} "
                f"{evaluated - new:>10.1f} {ttft:>7.2f}s   ({time.perf_counter() - start:.0f} s in all)",
                flush=True,
            )
        (ours, first), (theirs, later) = medians
        print(f"{roles:>5} ratio: evaluated {ours / theirs:.3f}, first token {first / later:.3f}", flush=True)


if __name__ == "__main__":
    main()
