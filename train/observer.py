"""Between the loop and those who look on: its events become metrics.jsonl, sample answers, and calls to a view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from rolekit.train.memory import peak_bytes
from rolekit.train.metrics import MetricsWriter, StepMetrics
from rolekit.train.sampling import Sampler
from rolekit.train.stepping import Evaluated, LoopEvent, Saved, Started, StepDone, Warned


class View(Protocol):
    """Somebody who watches a run: a live terminal, lines on stderr, TensorBoard. Texts come raw."""

    def started(self, event: Started) -> None:
        """The run begins or goes on."""
        ...

    def step(self, metrics: StepMetrics, epoch: float) -> None:
        """A step is done; epoch counts with a fraction."""
        ...

    def evaluated(self, step: int, loss: float, best: bool) -> None:
        """The held-out loss after a step."""
        ...

    def sampled(self, step: int, text: str) -> None:
        """What the model answers now."""
        ...

    def note(self, text: str) -> None:
        """Something that happened besides."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


@dataclass(slots=True)
class Observer:
    """The loop's watch: hands every event on. Only the first of several processes has a writer and views."""

    views: list[View]
    open_writer: Callable[[int], MetricsWriter] | None = None
    """Opens metrics.jsonl with its lines up to the step that the run goes on from."""
    sampler: Sampler | None = None
    sample_every: int = 0
    """Steps between sample answers; 0: with every held-out loss, or four times in all where none is held out."""
    row_tokens: Callable[[int], int] = lambda step: 0
    """The tokens of a step's rows had each run alone; steps count from 1."""
    flops: Callable[[int, int], float] | None = None
    """The work of computed and supervised tokens, in floating-point operations."""
    peak_flops: float = 0.0
    """What the machine can do in a second; 0: not known."""
    _writer: MetricsWriter | None = field(default=None, init=False)
    _steps: int = field(default=0, init=False)
    _held_out: bool = field(default=False, init=False)

    def __call__(self, event: LoopEvent) -> None:
        """Take one event."""
        match event:
            case Started():
                self._steps, self._held_out = event.steps, event.held_out_rows > 0
                self._writer = self.open_writer(event.step) if self.open_writer else None
                for view in self.views:
                    view.started(event)
            case StepDone():
                self._step(event)
            case Evaluated():
                self._evaluated(event)
            case Saved():
                pass
            case Warned():
                for view in self.views:
                    view.note(event.text)

    def _step(self, event: StepDone) -> None:
        work = self.flops(event.tokens, event.supervised) / event.seconds if self.flops else None
        metrics = StepMetrics(
            step=event.step,
            loss=event.loss,
            lr=event.learning_rate,
            tokens=event.tokens,
            supervised_tokens=event.supervised,
            seconds=event.seconds,
            tokens_per_second=event.tokens / max(event.seconds, 1e-9),
            memory_bytes=peak_bytes(),
            total_steps=event.steps,
            gradient_norm=event.gradient_norm,
            row_tokens=self.row_tokens(event.step),
            flops_per_second=work,
            peak_fraction=work / self.peak_flops if work and self.peak_flops else None,
        )
        if self._writer:
            self._writer.write(metrics)
        for view in self.views:
            view.step(metrics, event.epoch)
        every = self.sample_every or (0 if self._held_out else max(event.steps // 4, 1))
        if every and event.step % every == 0:
            self._sample(event.step)

    def _evaluated(self, event: Evaluated) -> None:
        if self._writer:
            self._writer.add(event.step, eval_loss=event.loss, eval_seconds=event.seconds)
        for view in self.views:
            view.evaluated(event.step, event.loss, event.best)
        if not self.sample_every:
            self._sample(event.step)

    def _sample(self, step: int) -> None:
        if self.sampler is None:
            return
        text = self.sampler()
        if self._writer:
            self._writer.add(step, sample=text)
        for view in self.views:
            view.sampled(step, text)

    def close(self) -> None:
        """Close the file and every view."""
        if self._writer:
            self._writer.close()
        for view in self.views:
            view.close()
