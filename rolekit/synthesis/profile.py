"""A character's profile out of texts: read, told apart, cut into segments, found, and written for a person to edit."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, roles_dir, write_text
from rolekit.rolebench.rows import write_rows
from rolekit.roles.library import RoleLibrary
from rolekit.roles.names import fold, slug_of
from rolekit.synthesis.dialogue import Dialogue, read_dialogue
from rolekit.synthesis.examples import MOST as MOST_EXAMPLES
from rolekit.synthesis.examples import example_pairs
from rolekit.synthesis.facts import MOST as MOST_FACTS
from rolekit.synthesis.facts import quoted_facts
from rolekit.synthesis.findings import Profile, Speeches
from rolekit.synthesis.phrases import catchphrases
from rolekit.synthesis.portrait import portrait
from rolekit.synthesis.segmenting import segment
from rolekit.synthesis.segments import Segment, write_segments
from rolekit.synthesis.sheet import sheet
from rolekit.synthesis.texts import read_texts
from rolekit.synthesis.turns import Turn
from rolekit.text import one_line

SEGMENTS, DIALOGUE, FACTS, ROLE, PROFILE = (
    "segments.jsonl", "dialogue.jsonl", "facts.jsonl", "role.toml", "profile.json",
)  # fmt: skip
NEW_ROLE = "role.new.toml"
"""Where a fresh profile goes when a person has edited role.toml."""
_MOST_UNKNOWN = 100


@dataclass(frozen=True, slots=True)
class Reading:
    """The texts as dialogue and segments, and whose turns are the role's."""

    name: str
    language: str
    dialogues: tuple[Dialogue, ...]
    segments: tuple[Segment, ...]
    aliases: tuple[str, ...]

    @property
    def turns(self) -> list[Turn]:
        """All turns of all texts."""
        return [turn for dialogue in self.dialogues for turn in dialogue.turns]

    def finder(self) -> Callable[[Turn], str]:
        """A function that gives the id of the segment a turn stands in; empty where it stands in none."""
        by_source: dict[str, list[Segment]] = {}
        for one in self.segments:
            by_source.setdefault(one.source, []).append(one)

        def find(turn: Turn) -> str:
            here = by_source.get(turn.source, [])
            at = bisect_right(here, turn.line, key=lambda one: one.first_line) - 1
            return here[at].id if at >= 0 and turn.line <= here[at].last_line else ""

        return find


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a profile's role file is."""

    role_file: Path
    """The role file of the run: what the next step uses."""
    edited: bool
    """Whether a person had edited it: then it is as it was, and the fresh one lies beside it as role.new.toml."""
    library_file: Path | None
    """Its copy among the user's roles; None where a role of that name was there already."""


def make_profile(
    texts: Sequence[Path], name: str, out: Path, *, aliases: Sequence[str] = (), language: str = ""
) -> Profile:
    """The profile by rules alone, saved in out (see save_profile). No model, no network.

    name: the character. aliases: what else the texts call it (`the keeper`, `I` for whoever tells the story).
    language: a BCP 47 tag; guessed where it is empty. Raises RolekitError when a text cannot be read or the character is
    not in them.
    """
    reading = read(texts, name, aliases, language)
    profile = profile_of(reading)
    save_profile(profile, reading, out)
    return profile


def read(texts: Sequence[Path], name: str, aliases: Sequence[str] = (), language: str = "") -> Reading:
    """The texts read, with the character found in them. Raises RolekitError as make_profile does."""
    wanted = one_line(name, 200)
    if not wanted:
        raise RolekitError("A profile needs the character's name.", 'Give it: --role "Ada Byron".')
    dialogues: list[Dialogue] = []
    called: Counter[str] = Counter()
    for text in read_texts(texts):
        dialogue, cast = read_dialogue(text, wanted, aliases, language)
        dialogues.append(dialogue)
        plain = f" {fold(' '.join(line.text for line in text.lines))} "
        called.update({alias: _times(alias, plain) for alias in cast.names_of(wanted)})
    spoken = Counter(turn.speaker for one in dialogues for turn in one.turns if turn.speaker)
    own = [alias for alias in called if called[alias]]
    if not spoken[wanted] and not own:
        raise _not_found(wanted, spoken)
    names = [_as_written(alias, dialogues) for alias in own if alias != fold(wanted)]
    given = [alias for alias in aliases if fold(alias) != fold(wanted) and alias != "I"]
    kept = dict.fromkeys(
        [*given, *(alias for alias in names if alias and fold(alias) not in map(fold, given))]
    )
    tongue = language or Counter(dialogue.language for dialogue in dialogues).most_common(1)[0][0]
    return Reading(wanted, tongue, tuple(dialogues), tuple(segment(dialogues)), tuple(kept))


def profile_of(reading: Reading) -> Profile:
    """What the rules find about the character."""
    turns, role = reading.turns, reading.name
    own = [turn for turn in turns if turn.kind == "speech" and turn.speaker == role]
    others = [turn.text for turn in turns if turn.kind != "scene" and turn.speaker != role]
    people = Counter(turn.speaker for turn in turns if turn.kind == "speech" and turn.speaker)
    names = [role, *reading.aliases]
    find = reading.finder()
    phrases = catchphrases(own, others, [*names, *people])
    facts = [
        fact
        for dialogue in reading.dialogues
        for fact in quoted_facts(dialogue, role, names, find, _share(MOST_FACTS, reading))
    ]
    pairs = [
        pair
        for dialogue in reading.dialogues
        for pair in example_pairs(dialogue.turns, role, find, _share(MOST_EXAMPLES, reading))
    ]
    return Profile(
        name=role,
        aliases=reading.aliases,
        language=reading.language,
        kinds={dialogue.text.source: dialogue.kind for dialogue in reading.dialogues},
        description=portrait(role, reading.language, own, others, phrases, facts),
        description_origin="measured",
        catchphrases=phrases,
        facts=tuple(facts),
        examples=tuple(pairs),
        speakers=dict(people.most_common()),
        speeches=_speeches(reading),
        segments=len(reading.segments),
    )


def _times(name: str, folded: str) -> int:
    """How often a folded name stands in a folded text: as whole words, where words are parted by spaces."""
    return folded.count(f" {name} " if name.isascii() else name)


def _share(most: int, reading: Reading) -> int:
    """How many findings one text of several may give: a book of forty chapters must not fill a role forty times."""
    return max(2, most // len(reading.dialogues)) if len(reading.dialogues) > 1 else most


def _speeches(reading: Reading) -> Speeches:
    spoken = [turn for turn in reading.turns if turn.kind == "speech"]
    rules = Counter(turn.rule or "unknown" for turn in spoken)
    unknown = tuple(turn.place for turn in spoken if not turn.speaker)
    mentions = sum(dialogue.mentions for dialogue in reading.dialogues)
    return Speeches(len(spoken), dict(rules.most_common()), mentions, unknown[:_MOST_UNKNOWN])


def _not_found(name: str, spoken: Counter[str]) -> RolekitError:
    listed = ", ".join(f"{one_line(one, 40)} ({times})" for one, times in spoken.most_common(12))
    what = (
        f"Those who speak in them: {listed}." if listed else "Nobody speaks in them, as far as can be told."
    )
    return RolekitError(
        f'"{one_line(name, 60)}" is not in these texts. {what}',
        "Give the name as the texts write it, or add --alias NAME.",
    )


def _as_written(alias: str, dialogues: Iterable[Dialogue]) -> str:
    """A folded name as the texts write it; empty where it does not stand there so."""
    wanted = alias.split()
    for dialogue in dialogues:
        for turn in dialogue.turns:
            if turn.kind == "scene" or alias not in fold(turn.text):
                continue
            words = turn.text.split()
            for at in range(len(words) - len(wanted) + 1):
                written = " ".join(words[at : at + len(wanted)])
                if fold(written) == alias:
                    return written.strip(".,;:!?“”\"'‘’—–()[]，。！？；：「」")
    return alias if not alias.isascii() else alias.title()


def save_profile(profile: Profile, reading: Reading, out: Path, command: str = "") -> Saved:
    """Put segments, dialogue, facts, the role and the counts into the run's folder, and the role among the user's own.

    A role file that a person has edited since is left alone, there and here: the fresh one goes to role.new.toml.
    """
    ensure_dir(out)
    write_segments(out / SEGMENTS, reading.segments)
    write_rows(out / DIALOGUE, _dialogue_rows(reading))
    write_rows(out / FACTS, (_fact_row(asdict(fact)) for fact in profile.facts))
    text = sheet(profile, command)
    known = _known_hash(out)
    role_file = out / ROLE
    edited = role_file.exists() and _sha256(role_file.read_bytes()) not in (known, _sha256(text.encode()))
    write_text(out / NEW_ROLE if edited else role_file, text)
    if not edited:
        (out / NEW_ROLE).unlink(missing_ok=True)
    library_file = None if edited else _to_library(profile.name, text, known)
    summary = {
        **summary_of(profile),
        "role_sha256": known if edited else _sha256(text.encode()),
    }
    write_text(out / PROFILE, json.dumps(summary, ensure_ascii=False, indent=1) + "\n")
    return Saved(role_file, edited, library_file)


def summary_of(profile: Profile) -> dict[str, Any]:
    """The profile's figures as JSON: what was read, found and counted."""
    return {
        "role": profile.name,
        "aliases": list(profile.aliases),
        "language": profile.language,
        "sources": profile.kinds,
        "segments": profile.segments,
        "speakers": profile.speakers,
        "speeches": asdict(profile.speeches),
        "catchphrases": len(profile.catchphrases),
        "facts": dict(Counter(fact.origin for fact in profile.facts)),
        "examples": len(profile.examples),
        "description": profile.description_origin,
        "generator": profile.generator,
    }


def _to_library(name: str, text: str, known: str) -> Path | None:
    """Copy the role among the user's own where no role of that name is, or only this run's own, unedited copy."""
    path = roles_dir() / f"{slug_of(name)}.toml"
    if path.exists():
        if _sha256(path.read_bytes()) not in (known, _sha256(text.encode())):
            return None
    elif any(
        fold(name) in {fold(entry.slug), fold(entry.role.name) if entry.role else ""}
        for entry in RoleLibrary().all()
    ):
        return None
    write_text(path, text)
    return path


def _dialogue_rows(reading: Reading) -> Iterable[dict[str, Any]]:
    find = reading.finder()
    for turn in reading.turns:
        row = {
            "kind": turn.kind,
            "segment": find(turn),
            "source": turn.source,
            "line": turn.line,
            "text": turn.text,
        }
        if turn.kind == "speech":
            row |= {"speaker": turn.speaker, "addressee": turn.addressee, "rule": turn.rule or "unknown"}
        yield row


def _fact_row(fact: dict[str, Any]) -> dict[str, Any]:
    place = fact.pop("place")
    return {**fact, "source": place["source"], "line": place["line"]}


def _known_hash(out: Path) -> str:
    """The hash of the role file that this run wrote last; empty where it wrote none."""
    try:
        found = json.loads((out / PROFILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(found.get("role_sha256", "")) if isinstance(found, dict) else ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
