"""From messages to rows: the chat engine's own prompts, the answers behind them, and which ids are learned.

A row is what a chat would have been: Prompter builds the prompt up to each answer, with the earlier answers spliced
in as ids, and the answer with its end token stands behind it. So masks come from the difference between a prompt
and the next, and no template needs marks for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rolekit.engine.prompt import Prompt, Prompter
from rolekit.engine.prompt_vocabulary import PromptVocabulary
from rolekit.errors import RolekitError
from rolekit.messages import Message


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids, which of them are learned, and how many at the beginning belong to the role alone."""

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    role_tokens: int


class RowMaker:
    """Builds the rows of one model: one template, one vocabulary. Not for several threads at once."""

    def __init__(self, prompter: Prompter, vocabulary: PromptVocabulary) -> None:
        """Raises RolekitError when the vocabulary has no token that could end an answer."""
        self._prompter = prompter
        self.end_ids = prompter.end_ids or self._eos(vocabulary)
        self.joins_turns = bool(prompter.end_ids) and not prompter.opens_thinking
        """Whether a chat of several turns is one row. Where the template ends no answer in history with a token of
        its own (ChatGLM2), or thinks in front of the last one only, each answer is a row of its own."""

    @staticmethod
    def _eos(vocabulary: PromptVocabulary) -> tuple[int, ...]:
        if vocabulary.eos is None:
            raise RolekitError(
                "This base has no token that ends an answer, so nothing trained on it would ever stop.",
                "Name a template that ends answers, or another base.",
            )
        return (vocabulary.eos,)

    def rows(self, opening: Sequence[Message], turns: Sequence[Message]) -> list[Row]:
        """The rows of one dialogue: opening (role block, examples) is never learned, every answer in turns is.

        Raises RolekitError when there is no answer to learn.
        """
        answers: list[tuple[Prompt, tuple[int, ...]]] = []
        history = [*opening]
        asked = False
        for message in turns:
            asked = asked or message.speaker == "user"
            if message.speaker == "assistant" and asked and message.text.strip():
                prompt = self._prompter.build(history, think=not self._prompter.opens_thinking)
                ids = self._prompter.reply_ids(message.text, prompt)
                answers.append((prompt, ids))
                message = replace(message, token_ids=ids)
            history.append(message)
        if not answers:
            raise RolekitError(
                "There is no answer to learn.", "A row needs a user's turn and an answer to it."
            )
        joined = self._joined(answers) if self.joins_turns else None
        return [joined] if joined else [self._row([answer]) for answer in answers]

    def _joined(self, answers: list[tuple[Prompt, tuple[int, ...]]]) -> Row | None:
        """All answers in one row; None where an earlier prompt is no beginning of a later one."""
        whole = answers[-1][0].ids
        for prompt, ids in answers[:-1]:
            part = (*prompt.ids, *ids, *self.end_ids)
            if whole[: len(part)] != part:
                return None
        return self._row(answers)

    def _row(self, answers: list[tuple[Prompt, tuple[int, ...]]]) -> Row:
        prompt, last = answers[-1]
        ids = (*prompt.ids, *last, *self.end_ids)
        supervised = [False] * len(ids)
        for before, answer in answers:
            start = len(before.ids)
            end = start + len(answer) + len(self.end_ids)
            supervised[start:end] = [True] * (end - start)
        role_tokens = min(answers[0][0].role_tokens, len(answers[0][0].ids))
        return Row(ids, tuple(supervised), role_tokens)
