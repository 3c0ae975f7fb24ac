"""Any text as dialogue: what kind of text it is, and its turns with their speakers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rolekit.roles.language import guess_language
from rolekit.synthesis.attribution import Attribution, Tongue
from rolekit.synthesis.cast import Cast, make_cast
from rolekit.synthesis.chinese import Chinese
from rolekit.synthesis.letters import is_letters, read_letters
from rolekit.synthesis.paragraphs import paragraphs_of
from rolekit.synthesis.scripts import read_script, script_names, script_share
from rolekit.synthesis.speeches import Passage, passages_of
from rolekit.synthesis.subtitles import read_subtitles
from rolekit.synthesis.texts import Text
from rolekit.synthesis.tongues import English, Nearby
from rolekit.synthesis.turns import Turn, with_addressees

TextKind = Literal["script", "prose", "letters", "wiki", "subtitles", "notes"]
_WIKI = re.compile(r"\s*(?:={2,6}[^=].*={2,6}|\{\{.+|\[\[(?:Category|分类|File|Image):.*)\s*$")
_BULLET = re.compile(r"\s*(?:[-*+•·]|\d{1,3}[.)、])\s+\S")
_CITED = re.compile(r"\[(?:\d{1,3}|edit|citation needed|编辑|来源请求)\]")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One text as turns, and how well that went."""

    text: Text
    kind: TextKind
    language: str
    turns: tuple[Turn, ...]
    mentions: int = 0
    """Quotations that are no speech: titles, words that are spoken of."""


def kind_of(text: Text) -> TextKind:
    """What a text is, by its shape: speakers before colons, salutations, headings, bullets; else prose."""
    if text.suffix == ".srt":
        return "subtitles"
    filled = [line for line in text.lines if line.text.strip()]
    if any(line.speaker for line in filled) or script_share(text) >= 0.3:
        return "script"
    if is_letters(text):
        return "letters"
    wiki = sum(bool(_WIKI.match(line.text) or _CITED.search(line.text)) for line in filled)
    if wiki >= 3 or wiki > 0.05 * len(filled):
        return "wiki"
    bullets = sum(bool(_BULLET.match(line.text)) for line in filled)
    return "notes" if bullets > 0.4 * len(filled) else "prose"


def read_dialogue(
    text: Text, name: str, aliases: Sequence[str] = (), language: str = ""
) -> tuple[Dialogue, Cast]:
    """The turns of a text, every person under one name, the role under name; and who is in it.

    language: a BCP 47 tag; guessed by the letters where it is empty. Never fails: what nobody can be found for keeps an
    empty speaker and the rule `unknown`.
    """
    sample = "\n".join(line.text for line in text.lines[:4000])
    spoken = language or guess_language(sample)
    kind = kind_of(text)
    mentions = 0
    if kind == "script":
        turns, cast = _cast_by_turns(read_script(text), name, aliases)
    elif kind == "letters":
        turns, cast = _cast_by_turns(read_letters(text, name), name, aliases)
    elif kind == "subtitles":
        turns, cast = _cast_by_turns(read_subtitles(text), name, aliases)
    else:
        turns, cast, mentions = _prose(text, name, aliases, spoken, listed=kind != "prose")
    return Dialogue(text, kind, spoken, tuple(turns), mentions), cast


def _cast_by_turns(turns: Sequence[Turn], name: str, aliases: Sequence[str]) -> tuple[list[Turn], Cast]:
    counts = Counter(turn.speaker for turn in turns if turn.speaker)
    counts.update(turn.addressee for turn in turns if turn.addressee)
    cast = make_cast(counts, name, aliases)
    return [
        replace(
            turn,
            speaker=cast.person(turn.speaker) if turn.speaker else "",
            addressee=cast.person(turn.addressee) if turn.addressee else "",
        )
        for turn in turns
    ], cast


def _prose(
    text: Text, name: str, aliases: Sequence[str], language: str, *, listed: bool
) -> tuple[list[Turn], Cast, int]:
    passages, mentions = passages_of(paragraphs_of(text.lines), listed=listed)
    given = [name, *aliases]
    tongue: Tongue
    if language.startswith("en"):
        tongue = English()
    elif language.startswith("zh"):
        tongue = Chinese(passages, given)
    else:
        tongue = Nearby(passages, given)
    attribution = Attribution(passages, tongue, name, aliases)
    attribution.run()
    turns = [turn for passage in passages for turn in _turns(passage, text.source, language)]
    if isinstance(tongue, Nearby):
        turns = [replace(turn, rule="near") if turn.rule == "named" else turn for turn in turns]
    return with_addressees(turns), attribution.cast, mentions


def _turns(passage: Passage, source: str, language: str) -> list[Turn]:
    """The turns of a paragraph: quotations of one speaker as one, the narration in its place."""
    paragraph = passage.paragraph
    first, last = paragraph.numbers[0], paragraph.numbers[-1]
    if paragraph.is_break:
        return [Turn("scene", paragraph.text.strip("#=* "), source, first, last)]
    turns: list[Turn] = []
    if passage.speeches and any(char.isalnum() for char in passage.speeches[0].before):
        turns.append(Turn("narration", passage.speeches[0].before.strip(), source, first, first))
    for speech in passage.speeches:
        start, end = paragraph.line_at(speech.quote.start), paragraph.line_at(speech.quote.end - 1)
        before = next((turn for turn in reversed(turns) if turn.kind == "speech"), None)
        if before is not None and before.speaker == speech.speaker:
            words = _joined(before.text, speech.quote.words, speech.before, language)
            turns[turns.index(before)] = replace(before, text=words, last_line=end)
        else:
            turns.append(
                Turn(
                    "speech",
                    speech.quote.words,
                    source,
                    start,
                    end,
                    speech.speaker,
                    speech.addressee,
                    speech.rule,
                )
            )
        if _tells(speech.after, language):
            turns.append(Turn("narration", speech.after.strip(" ,，"), source, end, end))
    turns = [replace(turn, text=_stopped(turn.text)) if turn.kind == "speech" else turn for turn in turns]
    return turns or [Turn("narration", paragraph.text, source, first, last)]


def _joined(first: str, second: str, between: str, language: str) -> str:
    """Two parts of a speech with the tag between them gone: a tag that ends with a stop ended the sentence."""
    if language.startswith(("zh", "ja")):
        return first + second
    return f"{_stopped(first) if between.rstrip().endswith(('.', '!', '?')) else first} {second}"


def _stopped(words: str) -> str:
    """A speech whose last comma, there for the tag alone, is a full stop."""
    if words.endswith(","):
        return words[:-1] + "."
    return words[:-1] + "。" if words.endswith("，") else words


def _tells(narration: str, language: str) -> bool:
    """Whether a narration behind a speech is more than its tag: `said Mara.` tells nothing else."""
    words = (
        len(re.findall(r"[\u3040-\u9fff]", narration)) / 2
        if language.startswith(("zh", "ja"))
        else len(narration.split())
    )
    return words > 3


def names_in(text: Text) -> list[str]:
    """The names before colons, most frequent first: what to offer where the role is not found."""
    return [name for name, _ in script_names(text.lines).most_common(20)]
