"""Prose parted into quotations and what is told around them, before anybody knows who speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rolekit.synthesis.paragraphs import Paragraph
from rolekit.synthesis.quotes import Quote, is_speech, quote_style, quotes_in
from rolekit.synthesis.turns import Rule


@dataclass
class Speech:
    """One quotation, and what is found out about it."""

    quote: Quote
    paragraph: int
    before: str
    """What is told between the quotation before it (or the paragraph's beginning) and this one."""
    after: str
    """What is told behind it, up to the next quotation."""
    speaker: str = ""
    addressee: str = ""
    rule: Rule = "unknown"


@dataclass
class Passage:
    """A paragraph with its quotations; narration is what is left without them."""

    paragraph: Paragraph
    speeches: list[Speech] = field(default_factory=list)

    @property
    def narration(self) -> str:
        """What is told in the paragraph, one blank where a quotation stood."""
        if not self.speeches:
            return self.paragraph.text
        parts = [self.speeches[0].before, *(speech.after for speech in self.speeches)]
        return " ".join(part.strip() for part in parts if part.strip())

    @property
    def is_only_speech(self) -> bool:
        """Whether nothing but quotations stands in it."""
        return bool(self.speeches) and not any(char.isalnum() for char in self.narration)


def passages_of(paragraphs: Sequence[Paragraph], *, listed: bool = False) -> tuple[list[Passage], int]:
    """Every paragraph with its quotations, and how many quotations are no speech (titles, words that are mentioned).

    listed: the text is notes or a page of an encyclopedia, whose dashes are bullets.
    """
    style = quote_style([paragraph.text for paragraph in paragraphs])
    style = "" if listed and style == "—" else style
    passages: list[Passage] = []
    mentions = 0
    for index, paragraph in enumerate(paragraphs):
        passage = Passage(paragraph)
        found = [] if paragraph.is_break else quotes_in(paragraph.text, style)
        spoken = [quote for quote in found if is_speech(paragraph.text, quote)]
        mentions += len(found) - len(spoken)
        for number, quote in enumerate(spoken):
            start = spoken[number - 1].end if number else 0
            end = spoken[number + 1].start if number + 1 < len(spoken) else len(paragraph.text)
            text = paragraph.text
            passage.speeches.append(Speech(quote, index, text[start : quote.start], text[quote.end : end]))
        passages.append(passage)
    return passages, mentions
