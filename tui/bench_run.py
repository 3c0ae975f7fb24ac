"""A run of the Bench screen: opens whoever answers, asks, and says after every answer how it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.endpoints.address import is_endpoint
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Sampling
from rolekit.text import one_line
from rolekit.tui.bench_view import Arrived, RunState
from rolekit.tui.bench_wishes import Wanted
from rolekit.tui.bench_work import Watch
from rolekit.tui.model import Model

if TYPE_CHECKING:
    from rolekit.rolebench.answering import Answerer
    from rolekit.rolebench.live import LiveFigures
    from rolekit.rolebench.planning import Plan
    from rolekit.rolebench.recipe import Recipe
    from rolekit.rolebench.running import Step

_LATEST = 3
Show = Callable[[RunState], None]


def planned(wanted: Wanted) -> Plan:
    """What the wishes ask. Raises RolekitError when they ask nothing that can be asked; reads files."""
    from rolekit.rolebench.planning import Wishes, plan
    from rolekit.rolebench.records import KINDS, find_data

    if not wanted.data:
        raise RolekitError("There is no data to ask from.", "Choose it in the first line at the left.")
    kinds = tuple(kind for kind in KINDS if kind == wanted.kind)
    wishes = Wishes(find_data(wanted.data), wanted.per_role, wanted.role_names, kinds)
    return plan(wishes, wanted.prompting, wanted.customise, lambda advice: None)


class BenchRun:
    """One run, from the wishes to its last answer; go() may be called once."""

    def __init__(
        self, wanted: Wanted, model: Model, open_other: Callable[[str], Backend] | None, show: Show
    ) -> None:
        """model is the one that chats, open_other opens any other; show hears the state whenever it is worth drawing."""
        self._wanted, self._model, self._open_other, self._show = wanted, model, open_other, show
        self._state = RunState(total=1)

    async def go(self, stop: asyncio.Event, max_usd: float | None) -> None:
        """Ask what has no answer yet, until stop is set; a server elsewhere may cost max_usd.

        Raises RolekitError when no more answers will come; those that came are kept.
        """
        from rolekit.rolebench.answering import answerer_for
        from rolekit.rolebench.recipe import alone_in

        self._show(self._state)
        folder = self._wanted.folder
        plan = await asyncio.to_thread(planned, self._wanted)
        backend, own = await self._backend()
        try:
            with alone_in(folder):
                answerer = await asyncio.to_thread(answerer_for, backend, folder, max_usd)
                try:
                    await self._ask_all(plan, answerer, stop)
                finally:
                    answerer.release()
        finally:
            if own:
                await backend.close()

    async def _backend(self) -> tuple[Backend, bool]:
        """Who answers, and whether it is ours to close."""
        wanted = self._wanted
        if not wanted.model and not wanted.adapter:
            return await self._model.ready(), False
        if self._open_other is None:
            raise RolekitError(
                "This program keeps its model.",
                "Leave model and adapter empty, or start again with --model.",
            )
        if not wanted.adapter:
            return await asyncio.to_thread(self._open_other, wanted.model), True
        return await self._adapted(self._open_other), True

    async def _adapted(self, open_other: Callable[[str], Backend]) -> Backend:
        """The model with the adapter: opened for this run alone, so that the chat keeps its own voice."""
        from rolekit.engine.backend import LocalBackend
        from rolekit.engine.references import parse_adapter

        adapter = parse_adapter(self._wanted.adapter)
        ref = self._wanted.model
        if not ref:
            chats = await self._model.ready()
            ref = str(chats.model_path) if isinstance(chats, LocalBackend) else chats.label
        no_place = RolekitError(
            f"Adapters work on models in this process, and {one_line(ref)} is none.",
            "Choose a .gguf or `starter` as the model, or leave the adapter empty.",
        )
        if is_endpoint(ref):
            raise no_place
        backend = await asyncio.to_thread(open_other, ref)
        try:
            if not isinstance(backend, LocalBackend):
                raise no_place
            await asyncio.to_thread(backend.set_adapters, [adapter])
        except RolekitError:
            await backend.close()
            raise
        return backend

    async def _ask_all(self, plan: Plan, answerer: Answerer, stop: asyncio.Event) -> None:
        from rolekit.rolebench.live import LiveFigures
        from rolekit.rolebench.recipe import begin
        from rolekit.rolebench.running import ask

        recipe = self._recipe(answerer, plan)
        run = begin(self._wanted.folder, recipe, plan.records)
        live = LiveFigures()
        self._begin(run.answers_file, plan, live)
        watch = Watch(self._state.done)
        async with aclosing(ask(run, recipe, plan.records, answerer, plan.casting, plan.pairs)) as steps:
            async for step in steps:
                self._take(step, live, watch)
                if stop.is_set():
                    break
        done, total = self._state.done, self._state.total
        ended = (
            f"{done} of {total} answered." if done == total else f"Stopped at {done} of {total}; s goes on."
        )
        self._state = replace(self._figures(live), ended=ended, seconds_left=None)
        self._show(self._state)

    def _recipe(self, answerer: Answerer, plan: Plan) -> Recipe:
        from rolekit.rolebench.recipe import Recipe
        from rolekit.rolebench.records import find_data

        wanted = self._wanted
        return Recipe(
            ref=wanted.model, identity=answerer.identity, data_path=str(find_data(wanted.data)),
            subset={"per_role": wanted.per_role, "roles": sorted(wanted.role_names), "kinds": [], "split": "test"},
            prompting=wanted.prompting, customise=wanted.customise,
            sampling=Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0), max_tokens=wanted.max_tokens,
            seed=0, label=wanted.name, examples_sha256=plan.examples_sha256,
        )  # fmt: skip

    def _begin(self, answers: Path, plan: Plan, live: LiveFigures) -> None:
        """Count what has been answered before."""
        from rolekit.rolebench.answers import read_answers

        known = {(record.role, record.question): record for record in plan.records}
        done = 0
        if answers.is_file() and answers.stat().st_size:
            for answer in read_answers(answers).answers:
                record = known.pop((answer.role, answer.question), None)
                if record is not None:
                    live.add(record, answer.text)
                    done += 1
        self._state = RunState(done=done, total=len(plan.records), running=tuple(live.running()))
        self._show(self._state)

    def _take(self, step: Step, live: LiveFigures, watch: Watch) -> None:
        state = replace(self._state, done=step.done, total=step.total)
        if step.answer is not None:
            value = live.add(step.record, step.answer.text)
            latest = (Arrived(step.record, step.answer.text, value), *state.latest)[:_LATEST]
            state = replace(state, latest=latest)
        self._state = state
        if watch.due(step.done, step.total):
            self._state = replace(self._figures(live), seconds_left=watch.seconds_left)
            self._show(self._state)

    def _figures(self, live: LiveFigures) -> RunState:
        return replace(self._state, running=tuple(live.running()), by_role=tuple(live.by_role()))
