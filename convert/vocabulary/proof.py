"""The proof: llama.cpp, with the very vocabulary that will be written, splits every probe text as the model does."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekit.convert.metadata import MetaValue, encode_header
from rolekit.convert.vocabulary.probes import chat_texts, plain_texts
from rolekit.convert.vocabulary.reference import Reference
from rolekit.convert.vocabulary.tokens import Draft, TokenType
from rolekit.engine.vocabulary import open_vocabulary
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
    ends: frozenset[int] = frozenset()
    """The ids that end a generation for llama.cpp."""
    reason: str = ""
    """Why the vocabulary could not be loaded."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The texts, and what the model's own tokenizer makes of them."""

    plain: tuple[tuple[str, tuple[int, ...]], ...]
    chats: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, reference: Reference, special: Sequence[str], *, composed: bool) -> Probe:
        """composed: the tokenizer brings text into NFC first, which llama.cpp leaves to its user; so are the texts."""
        if len(special) > _MOST_SPECIAL:
            special = [*special[: _MOST_SPECIAL // 2], *special[-_MOST_SPECIAL // 2 :]]

        def tried(texts: Sequence[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
            shaped = [unicodedata.normalize("NFC", text) if composed else text for text in texts]
            return tuple((text, tuple(reference.encode(text))) for text in shaped)

        return cls(tried(plain_texts()), tried(chat_texts(special)))


def judge(draft: Draft, keys: Mapping[str, MetaValue], probe: Probe) -> Verdict:
    """Load a draft in llama.cpp, keys being all metadata of the file to be, and compare every text."""
    probes = probe.chats if draft.behind_control_only and probe.chats else (*probe.plain, *probe.chats)
    if fault := _would_crash(draft):
        return Verdict(draft, len(probes), tuple(text for text, _ in probes), reason=fault)
    with tempfile.TemporaryDirectory(prefix="rolekit-") as folder:
        path = Path(folder) / "vocabulary.gguf"
        path.write_bytes(encode_header(keys, []))
        try:
            with open_vocabulary(path) as vocabulary:
                different = tuple(
                    text
                    for text, ids in probes
                    if tuple(vocabulary.tokenize(text, special=True, first=True)) != ids
                )
                ends = frozenset(token for token in range(vocabulary.size) if vocabulary.is_end(token))
        except RolekitError as error:
            return Verdict(draft, len(probes), tuple(text for text, _ in probes), reason=error.what_happened)
    return Verdict(draft, len(probes), different, ends)


def _would_crash(draft: Draft) -> str:
    """Why llama.cpp would end the process: a SentencePiece vocabulary without bytes meets an unknown letter."""
    if draft.model != "llama":
        return ""
    count = sum(token.type is TokenType.BYTE for token in draft.tokens)
    return "" if count == 256 else f"the vocabulary has {count} of 256 bytes to fall back to"


def proved(drafts: Sequence[Verdict]) -> Verdict:
    """The first verdict without a difference.

    Raises RolekitError, with an example from the best one, when there is none.
    """
    for verdict in drafts:
        if not verdict.different:
            return verdict
    best = min(drafts, key=lambda verdict: len(verdict.different))
    if best.reason:
        raise RolekitError(
            f"llama.cpp cannot load the model's vocabulary ({one_line(best.reason, 200)}).",
            "Check the tokenizer's files.",
        )
    raise RolekitError(
        f"llama.cpp would split {len(best.different)} of {best.texts} probe texts otherwise than the model's tokenizer "
        f"(its rule {best.draft.pre!r} comes closest), {one_line(best.different[0], 60)!r} for one.",
        "The model would read other tokens than it was trained on, so nothing was written.",
    )
