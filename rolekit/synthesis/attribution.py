"""Who says each quotation of prose: rules from the surest to the weakest, and none that guesses.

In English and Chinese the tag decides (`said Mara`, 小满说：), then a pronoun that only one person can be, then whom the
paragraph tells of, then whose turn it is where two people talk. In every other language a speaker is a name that stands
beside the quotation, and does so at least twice in the text; then turns are taken. What is left is counted as unknown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from rolekit.roles.names import fold
from rolekit.synthesis.cast import Cast, learn_genders, make_cast, name_pattern
from rolekit.synthesis.speeches import Passage, Speech
from rolekit.synthesis.tags_en import Tag

_NEAR_SCENE = 3
"""So many paragraphs without speech end a conversation."""
_BACK = 4
"""So many paragraphs back a pronoun looks for whom it means."""


class Tongue(Protocol):
    """What attribution asks of a language."""

    def tag_after(self, narration: str) -> Tag | None:
        """The tag with which the narration behind a quotation begins."""
        ...

    def tag_before(self, narration: str) -> Tag | None:
        """The tag with which the narration in front of a quotation ends."""
        ...

    def subjects(self, narration: str, names: re.Pattern[str] | None) -> list[str]:
        """Pronouns and names that the sentences of a narration tell of."""
        ...

    def gender(self, subject: str) -> str | None:
        """m or f of a pronoun for one person, empty for the teller; None where the subject is no pronoun."""
        ...

    def can_speak(self, name: str) -> bool:
        """Whether a name that stands in one tag only is a person: `said the boots` is nobody by itself."""
        ...

    def full_names(self, narration: str, known: Iterable[str]) -> list[str]:
        """Longer names in a narration that hold a known one."""
        ...

    def called(self, words: str, names: re.Pattern[str] | None) -> list[str]:
        """The names that the words of a speech call somebody by."""
        ...


class Attribution:
    """Speakers for the speeches of one text."""

    def __init__(
        self, passages: Sequence[Passage], tongue: Tongue, wanted: str, aliases: Sequence[str] = ()
    ) -> None:
        """passages: the whole text; wanted: the character, aliases: what else the text calls it."""
        self._passages, self._tongue = passages, tongue
        self._tags: dict[int, Tag] = {}
        self._leads: set[int] = set()
        found = self._find_tags()
        narration = [passage.narration for passage in passages]
        found.update(
            name for text in narration for name in tongue.full_names(text, [*found, wanted, *aliases])
        )
        self.cast: Cast = make_cast(found, wanted, aliases)
        spellings = [*found, wanted, *aliases]
        self._names = name_pattern(name for name in spellings if tongue.gender(name) is None)
        learn_genders(self.cast, narration, self._names)

    def run(self) -> None:
        """Fill in the speakers, rule by rule, the surest first over the whole text."""
        self._named()
        self._within_paragraphs()
        self._continued()
        self._learn_from_pronouns()
        self._pronouns()
        self._within_paragraphs()
        self._actions()
        self._within_paragraphs()
        self._continued()
        for _ in range(2):
            self._vocatives()
            self._alternation()
            self._continued()
        self._addressees()

    def _find_tags(self) -> Counter[str]:
        """Every tag of the text, and how often each name stands in one."""
        found: Counter[str] = Counter()
        for index, passage in enumerate(self._passages):
            for number, speech in enumerate(passage.speeches):
                lead = speech.before
                if number == 0 and not lead.strip() and index and not self._passages[index - 1].speeches:
                    lead = self._passages[index - 1].narration
                tag = self._tongue.tag_after(speech.after) or self._tongue.tag_before(lead)
                if tag is None:
                    continue
                self._tags[id(speech)] = tag
                for name in (tag.subject, tag.to):
                    if name and self._tongue.gender(name) is None:
                        found[name] += 1
        odd = {name for name, times in found.items() if times < 2 and not self._tongue.can_speak(name)}
        self._tags = {key: tag for key, tag in self._tags.items() if tag.subject not in odd}
        return Counter({name: times for name, times in found.items() if name not in odd})

    def _speeches(self) -> list[Speech]:
        return [speech for passage in self._passages for speech in passage.speeches]

    def _named(self) -> None:
        for speech in self._speeches():
            tag = self._tags.get(id(speech))
            if tag is None:
                continue
            if tag.to:
                speech.addressee = self.cast.person(tag.to)
            gender = self._tongue.gender(tag.subject)
            if gender is None or gender == "":
                speech.speaker, speech.rule = self.cast.person(tag.subject), "named"

    def _within_paragraphs(self) -> None:
        """Quotations of one paragraph are one person's, unless their tags say otherwise."""
        for passage in self._passages:
            known = [speech for speech in passage.speeches if speech.speaker]
            if len({speech.speaker for speech in known}) != 1:
                continue
            for speech in passage.speeches:
                if not speech.speaker and not self._pronoun_of(speech):
                    speech.speaker, speech.rule = known[0].speaker, known[0].rule
                    speech.addressee = speech.addressee or known[0].addressee

    def _pronoun_of(self, speech: Speech) -> str:
        tag = self._tags.get(id(speech))
        return (self._tongue.gender(tag.subject) or "") if tag else ""

    def _continued(self) -> None:
        """A quotation that is not closed goes on where the next paragraph opens one."""
        for before, passage in zip(self._passages, self._passages[1:], strict=False):
            if before.speeches and passage.speeches and before.speeches[-1].quote.open:
                last, first = before.speeches[-1], passage.speeches[0]
                if last.speaker and not first.speaker:
                    first.speaker, first.rule, first.addressee = last.speaker, "continued", last.addressee
                elif first.speaker and not last.speaker:
                    last.speaker, last.rule, last.addressee = first.speaker, "continued", first.addressee

    def _pronouns(self) -> None:
        for index, passage in enumerate(self._passages):
            for speech in passage.speeches:
                if speech.speaker or not (gender := self._pronoun_of(speech)):
                    continue
                if person := self._meant(index, speech, gender):
                    speech.speaker, speech.rule = person, "pronoun"

    def _learn_from_pronouns(self) -> None:
        """Who is a he and who a she, where every pronoun that can only be a person of unknown gender agrees."""
        votes: dict[str, set[str]] = {}
        for index, passage in enumerate(self._passages):
            for speech in passage.speeches:
                gender = "" if speech.speaker else self._pronoun_of(speech)
                person = self._meant(index, speech, gender) if gender else ""
                if person and person not in self.cast.genders:
                    votes.setdefault(person, set()).add(gender)
        self.cast.genders |= {person: told.pop() for person, told in votes.items() if len(told) == 1}

    def _meant(self, index: int, speech: Speech, gender: str) -> str:
        """The one person a pronoun can mean: named in this paragraph before it, else in the talk just before."""
        if gender not in ("m", "f"):
            return ""  # we, they: not one person
        passage = self._passages[index]
        told = f"{passage.speeches[0].before} {speech.before}"
        subjects = [
            one for one in self._tongue.subjects(told, self._names) if self._tongue.gender(one) is None
        ]
        for people in ([self.cast.person(one) for one in subjects[-1:]], self._people_in(told)):
            if len(here := self._fitting(people, gender)) == 1:
                return here.pop()
        above = self._passages[index - 1] if index else passage
        if not above.speeches and len(one := self._fitting(self._people_in(above.narration), gender)) == 1:
            return one.pop()
        near: list[str] = []
        last = ""
        for other in reversed(self._passages[max(0, index - _BACK) : index]):
            if other.paragraph.is_break:
                break
            near += [one.speaker for one in other.speeches if one.speaker]
            near += self._people_in(other.narration)
            if other is self._passages[index - 1] and other.speeches:
                last = other.speeches[-1].speaker
        near += [one.speaker for one in passage.speeches if one.speaker]
        fitting = self._fitting(near, gender)
        if len(fitting) > 1 and last in fitting and passage.speeches[0] is speech:
            fitting.discard(last)  # a new paragraph is another speaker's turn
        if not any(self.cast.genders.get(person) == gender for person in fitting):
            known = {one for one, is_ in self.cast.genders.items() if is_ == gender}
            fitting = known or fitting  # somebody else in the text is surely meant
        return fitting.pop() if len(fitting) == 1 else ""

    def _people_in(self, narration: str) -> list[str]:
        return (
            [self.cast.person(found[0]) for found in self._names.finditer(narration)] if self._names else []
        )

    def _fitting(self, people: Sequence[str], gender: str) -> set[str]:
        """Those of that gender; where there are none, those nothing is known of."""
        others = {
            person for person in people if self._tongue.gender(person) is None
        }  # I is neither he nor she
        sure = {person for person in others if self.cast.genders.get(person) == gender}
        return sure or others - set(self.cast.genders)

    def _actions(self) -> None:
        """Whom the paragraph tells of, where that is one person: `Mara set down the lamp. “…”`."""
        for index, passage in enumerate(self._passages):
            if not passage.speeches or any(speech.speaker for speech in passage.speeches):
                continue
            people: set[str] = set()
            for subject in self._tongue.subjects(passage.narration, self._names):
                gender = self._tongue.gender(subject)
                if gender is None:
                    people.add(self.cast.person(subject))
                elif gender and not people:
                    people.add(self._meant(index, passage.speeches[0], gender))
            if len(people) == 1 and (person := people.pop()):
                for speech in passage.speeches:
                    speech.speaker, speech.rule = person, "action"

    def _vocatives(self) -> None:
        """Whoever is spoken to by name; of two people talking, the other one speaks."""
        for index, passage in enumerate(self._passages):
            for speech in passage.speeches:
                called = {self.cast.person(n) for n in self._tongue.called(speech.quote.words, self._names)}
                called.discard(speech.speaker)
                if len(called) != 1:
                    continue
                spoken_to = called.pop()
                speech.addressee = speech.addressee or spoken_to
                talking = set(self._talking(index)) - {""}
                if (
                    not speech.speaker
                    and not self._tags.get(id(speech))
                    and len(talking) == 2
                    and spoken_to in talking
                ):
                    speech.speaker, speech.rule = (talking - {spoken_to}).pop(), "vocative"

    def _talking(self, index: int) -> list[str]:
        """Whoever speaks in the conversation around a paragraph, in order; the empty name for the unknown."""
        found: list[str] = []
        for step in (-1, 1):
            at, silent = index + step, 0
            while 0 <= at < len(self._passages) and silent < _NEAR_SCENE and abs(at - index) <= 12:
                passage = self._passages[at]
                if passage.paragraph.is_break:
                    break
                silent = 0 if passage.speeches else silent + 1
                names = [speech.speaker for speech in passage.speeches]
                found = [*names, *found] if step < 0 else [*found, *names]
                at += step
        return found

    def _alternation(self) -> None:
        """Two people who talk take turns: the one who did not speak in the paragraph before or behind."""
        for index, passage in enumerate(self._passages):
            if not passage.speeches or any(speech.speaker for speech in passage.speeches):
                continue
            people = set(self._talking(index)) - {""}
            around = [self._turn(index, -1), self._turn(index, 1)]
            known = {person for person in around if person}
            if len(people) == 2 and len(known) == 1 and (passage.is_only_speech or len(around[0]) > 0):
                person = (people - known).pop()
            elif around[0] and around[0] != (second := self._turn(index, -2)) and second:
                person = second
            else:
                continue
            if all(self._agrees(speech, person) for speech in passage.speeches):
                for speech in passage.speeches:
                    speech.speaker, speech.rule = person, "alternation"

    def _agrees(self, speech: Speech, person: str) -> bool:
        """Whether the tag of a speech, where it has one, can mean this person."""
        if id(speech) not in self._tags:
            return True
        return bool(gender := self._pronoun_of(speech)) and self.cast.genders.get(person) == gender

    def _turn(self, index: int, step: int) -> str:
        """Who speaks step paragraphs away, where every paragraph in between is speech too; else nobody."""
        direction = 1 if step > 0 else -1
        for at in range(index + direction, index + step + direction, direction):
            if not 0 <= at < len(self._passages) or not self._passages[at].speeches:
                return ""
        return self._passages[index + step].speeches[0 if step > 0 else -1].speaker

    def _addressees(self) -> None:
        for speech in self._speeches():
            if speech.addressee and fold(speech.addressee) == fold(speech.speaker):
                speech.addressee = ""
