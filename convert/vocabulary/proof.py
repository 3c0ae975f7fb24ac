"""The proof: llama.cpp, with the very vocabulary that will be written, splits every probe text as the model does."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rolekit.convert.metadata import MetaValue, encode_header
from rolekit.convert.vocabulary.probes import chat_texts, plain_texts
from rolekit.convert.vocabulary.reference import Reference
from rolekit.convert.vocabulary.tokens import Draft, TokenType
from rolekit.engine.vocabulary import Vocabulary, open_vocabulary
from rolekit.errors import RolekitError
from rolekit.text import one_line

_MOST_SPECIAL = 48
"""More special tokens than that are alike (reserved ones): the first and the last are tried."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one draft did."""

    draft: Draft
    texts: int
    """How many were tried."""
    different: tuple[str, ...]
    """Those that llama.cpp splits otherwise; all of them, when it cannot load the vocabulary."""
    missed: tuple[int, ...] = ()
    """The ends of a reply at which llama.cpp would not stop."""
    reason: str = ""
    """Why the vocabulary could not be loaded."""


@dataclass(frozen=True, slots=True)
class ProbeText:
    """A text, and what the model's own tokenizer makes of it."""

    text: str
    ids: tuple[int, ...]
    behind_control: bool
    """Whether it begins with a special token."""
    leading_blank: bool
    """Whether it, or a stretch of it behind a special token, begins with a space."""


def probe_texts(
    reference: Reference, special: Sequence[str], words: Sequence[str], *, composed: bool
) -> tuple[ProbeText, ...]:
    """Every text to compare.

    special: the special tokens to put between. words: other added tokens. composed: the tokenizer brings text into NFC first, which llama.cpp
    leaves to its user; so are the texts.
    """
    special = _some(special)
    # The letter that stands for a space is no text that anybody writes.
    within = [f"x{word}y {word}." for word in _some([word for word in words if "\u2581" not in word])]
    blank = re.compile("|".join([r"\A ", *(f"{re.escape(token)} " for token in special)]))

    def tried(text: str, behind_control: bool) -> ProbeText:
        text = unicodedata.normalize("NFC", text) if composed else text
        ids = tuple(reference.encode(text))
        return ProbeText(text, ids, behind_control, blank.search(text) is not None)

    plain = [tried(text, False) for text in (*plain_texts(), *within)]
    return (*plain, *(tried(text, True) for text in chat_texts(special)))


def _some(tokens: Sequence[str]) -> Sequence[str]:
    if len(tokens) <= _MOST_SPECIAL:
        return tokens
    return [*tokens[: _MOST_SPECIAL // 2], *tokens[-_MOST_SPECIAL // 2 :]]


def judge(
    draft: Draft,
    keys: Mapping[str, MetaValue],
    texts: Sequence[ProbeText],
    ends: Sequence[int] = (),
    limit: int = 1 << 30,
) -> Verdict:
    """Load a draft in llama.cpp, keys being all metadata of the file to be, and compare every text it has to fit.

    ends: the tokens at which it has to stop. limit: so many differences, and the rest is not looked at.
    """
    texts = [
        probe
        for probe in texts
        if not (draft.behind_control_only and not probe.behind_control)
        and not (draft.no_leading_blank and probe.leading_blank)
    ]
    if not texts:
        return Verdict(draft, 0, ("",), reason="there is nothing to compare it with")
    everything = tuple(probe.text for probe in texts)
    if fault := _would_crash(draft):
        return Verdict(draft, len(texts), everything, reason=fault)
    with tempfile.TemporaryDirectory(prefix="rolekit-") as folder:
        path = Path(folder) / "vocabulary.gguf"
        path.write_bytes(encode_header(keys, []))
        try:
            with open_vocabulary(path) as vocabulary:
                unequal = (probe.text for probe in texts if not _equal(vocabulary, probe))
                different = tuple(islice(unequal, limit))
                missed = tuple(token for token in ends if not vocabulary.is_end(token))
        except RolekitError as error:
            return Verdict(draft, len(texts), everything, reason=error.what_happened)
    return Verdict(draft, len(texts), different, missed)


def _equal(vocabulary: Vocabulary, probe: ProbeText) -> bool:
    return tuple(vocabulary.tokenize(probe.text, special=True, first=True)) == probe.ids


def _would_crash(draft: Draft) -> str:
    """Why llama.cpp would end the process: a SentencePiece vocabulary without bytes meets an unknown letter."""
    if draft.model != "llama":
        return ""
    count = sum(token.type is TokenType.BYTE for token in draft.tokens)
    return "" if count == 256 else f"the vocabulary has {count} of 256 bytes to fall back to"


def proved(verdicts: Sequence[Verdict], *, strict: bool = True) -> Verdict:
    """The verdict without a difference; where there is none, and strict is off, the one with the fewest.

    Raises RolekitError, with an example from the best one, when none is good enough.
    """
    best = min(verdicts, key=lambda verdict: len(verdict.different))
    if not best.different or (not strict and not best.reason):
        return best
    if best.reason:
        raise RolekitError(
            f"llama.cpp cannot load the model's vocabulary ({one_line(best.reason, 200)}).",
            "Check the tokenizer's files.",
        )
    raise RolekitError(
        f"llama.cpp would split {len(best.different)} of {best.texts} probe texts otherwise than the model's tokenizer "
        f"(its rule {best.draft.pre!r} comes closest), {one_line(best.different[0], 60)!r} for one.",
        "The model would read other tokens than it was trained on, so nothing was written; to have it all the same, add "
        "--allow-tokenizer-differences.",
    )
