"""How reports write their numbers and their accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rolekit.text import count

if TYPE_CHECKING:
    from rolekit.rolebench.comparing import Comparison

_ACCOUNTS = {
    "joined_stripped": "answers found only after stripping blanks from role and question",
    "unanswered": "questions without an answer, not scored",
    "empty_answers": "empty answers, which count as 0",
    "cut_off_answers": "answers cut off at the longest length allowed",
    "unreadable_references": "answers not scored because the scorer reads none of their references",
    "answers_to_nothing": "answers to nothing that the data asks",
    "answers_of_unknown_roles": "answers of roles that the data does not have",
    "rows_with_several_answers": "rows with more than one answer, of which the first is scored",
    "bad_answer_rows": "rows of answers that cannot be read",
    "bad_record_rows": "rows of references that cannot be read",
}


def decimals(value: float, places: int = 4) -> str:
    """A score without its leading zero: .3229."""
    text = f"{value:.{places}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(value: float, places: int = 4) -> str:
    """A difference, always with its sign: +.0123."""
    return ("+" if value >= 0 else "−") + decimals(abs(value), places)


def span(interval: Sequence[float]) -> str:
    """The two ends of an interval: .3201–.3257."""
    return f"{decimals(interval[0])}–{decimals(interval[1])}"


def sentences_of_accounts(accounts: Mapping[str, int]) -> list[str]:
    """One line for each thing that happened at least once."""
    return [f"{words}: {count(accounts[key])}" for key, words in _ACCOUNTS.items() if accounts.get(key)]


def comparison_sentences(comparison: Comparison) -> list[str]:
    """What a reader should take from a comparison, a sentence a metric."""
    sentences = []
    for change in comparison.changes:
        interval = f"{signed(change.ci95.low)} to {signed(change.ci95.high)}"
        verdict = {
            "better": "the second is better",
            "worse": "the second is worse",
            "cannot be told": "no difference can be told",
        }[change.verdict]
        n = count(change.answers.better + change.answers.worse + change.answers.same)
        sentences.append(
            f"{change.metric} ({comparison.scorer}): {verdict}: {signed(change.difference)}"
            f" (95 % {interval}, n {n}, {len(change.roles)} roles)"
        )
    before, after = comparison.length_ratios
    sentences.append(f"length ratio to the references: {before:.2f} before, {after:.2f} after")
    if comparison.only_before or comparison.only_after:
        sentences.append(
            f"answered in one run only, and not compared: {count(comparison.only_before)} before,"
            f" {count(comparison.only_after)} after"
        )
    return sentences
