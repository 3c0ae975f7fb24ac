"""Reading lorebooks: embedded in cards (V2, V3), standalone V3, SillyTavern, Agnai, RisuAI and NovelAI files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.messages import Speaker
from rolekit.roles.cards.card import MAX_CARD_BYTES
from rolekit.roles.cards.json_text import parse_card_json
from rolekit.roles.cards.sheet import number_of, text_of, texts_of
from rolekit.roles.lore.book import PLACES, Book, Grouping, Logic, LoreEntry, Place, Recursion, Timing
from rolekit.roles.lore.decorators import apply_decorators
from rolekit.text import one_line

MAX_ENTRIES = 20_000
_SPEAKERS: tuple[Speaker, ...] = ("system", "user", "assistant")


def read_book(path: Path) -> Book:
    """The lorebook in a JSON file of any known program. Raises RolekitError, one sentence, when it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CARD_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RolekitError(
            f"The lorebook {one_line(str(path), 300)} cannot be read ({one_line(reason)}).",
            "Check its name and place.",
        ) from error
    payload, notices = parse_card_json(data)
    book = book_of(payload, path.stem)
    return replace(book, notices=(*notices, *book.notices))


def book_of(payload: Mapping[str, Any], name: str) -> Book:
    """The lorebook in a JSON object; name is used where it has none of its own. Raises RolekitError for others."""
    if isinstance(payload.get("data"), dict) and str(payload.get("spec", "")).startswith("lorebook"):
        return _card_book(payload["data"], name)
    if payload.get("type") == "risu" and isinstance(payload.get("data"), list):
        return _book(name, payload, map(_risu, _rows(payload["data"])))
    if "lorebookVersion" in payload:
        return _book(name, payload, map(_novelai, _rows(payload.get("entries"))))
    if payload.get("kind") == "memory":
        return _book(
            text_of(payload.get("name")) or name, payload, map(_agnai, _rows(payload.get("entries")))
        )
    entries = _rows(payload.get("entries"))
    if "entries" in payload and (not entries or any("key" in row for row in entries)):
        return _book(text_of(payload.get("name")) or name, payload, map(_sillytavern, entries))
    if "entries" in payload:
        return _card_book(payload, name)
    raise RolekitError(
        f"{one_line(name)} holds no lorebook.",
        "Name a lorebook of SillyTavern, V3, Agnai, RisuAI or NovelAI (.json).",
    )


def _card_book(payload: Mapping[str, Any], name: str) -> Book:
    return _book(text_of(payload.get("name")) or name, payload, map(_v2, _rows(payload.get("entries"))))


def _rows(entries: object) -> list[dict[str, Any]]:
    """The entries, which some programs keep as a list and some by number; the number is the uid."""
    if isinstance(entries, dict):
        return [{"uid": key, **row} for key, row in entries.items() if isinstance(row, dict)]
    return [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []


def _book(name: str, payload: Mapping[str, Any], entries: Iterable[LoreEntry]) -> Book:
    found: dict[str, LoreEntry] = {}
    notices: list[str] = []
    for number, entry in enumerate(entries):
        if number >= MAX_ENTRIES:
            notices.append(f"Only the first {MAX_ENTRIES} entries were read.")
            break
        uid = entry.uid if entry.uid and entry.uid not in found else f"#{number}"
        found[uid] = apply_decorators(replace(entry, uid=uid))
    return Book(
        one_line(name, 200) or "lorebook", tuple(found.values()), _count(payload, "scan_depth", "depth"),
        _count(payload, "token_budget", "budget"), _switch(payload.get("recursive_scanning")), tuple(notices),
    )  # fmt: skip


def _count(payload: Mapping[str, Any], *names: str) -> int | None:
    """A whole number of zero or more, under the first of names that has one."""
    for name in names:
        number = number_of(payload.get(name), -1)
        if number >= 0 and payload.get(name) is not None:
            return int(min(number, 1_000_000))
    return None


def _switch(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: object, default: int) -> int:
    return int(min(max(number_of(value, default), -1_000_000), 1_000_000))


def _v2(row: Mapping[str, Any]) -> LoreEntry:
    """An entry of a V2 or V3 book; SillyTavern's own settings are in its extensions."""
    raw = row.get("extensions")
    more: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    place, depth = _v2_place(row, more)
    enabled = row.get("enabled")
    return LoreEntry(
        uid=text_of(row.get("id")) or text_of(row.get("uid")),
        content=text_of(row.get("content")),
        keys=texts_of(row.get("keys")),
        secondary_keys=texts_of(row.get("secondary_keys")),
        name=one_line(text_of(row.get("name")) or text_of(row.get("comment")), 200),
        enabled=enabled if isinstance(enabled, bool) else True,
        constant=row.get("constant") is True,
        selective=row.get("selective") is True,
        logic=_logic(more.get("selectiveLogic")),
        order=_whole(row.get("insertion_order"), 100),
        priority=_whole(row.get("priority"), 0) if _is_number(row.get("priority")) else None,
        probability=_chance(more),
        place=place,
        depth=depth,
        speaker=_SPEAKERS[_whole(more.get("role"), 0) % 3],
        scan_depth=_count(more, "scan_depth"),
        case_sensitive=_first_switch(row.get("case_sensitive"), more.get("case_sensitive")),
        whole_words=_switch(more.get("match_whole_words")),
        timing=Timing(*(max(_whole(more.get(key), 0), 0) for key in ("sticky", "cooldown", "delay"))),
        recursion=_recursion(more, "exclude_recursion", "prevent_recursion", "delay_until_recursion"),
        grouping=_grouping(more, "group_override", "group_weight", "use_group_scoring"),
    )


def _v2_place(row: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[Place, int]:
    depth = min(max(_whole(more.get("depth"), 4), 0), 1000)
    number = _whole(more.get("position"), -1)
    if 0 <= number < len(PLACES):
        return PLACES[number], depth
    return ("before" if row.get("position") == "before_char" else "after"), depth


def _sillytavern(row: Mapping[str, Any]) -> LoreEntry:
    """An entry of a SillyTavern world file, whose names are its own."""
    number = _whole(row.get("position"), 1)
    return LoreEntry(
        uid=text_of(row.get("uid")),
        content=text_of(row.get("content")),
        keys=texts_of(row.get("key")),
        secondary_keys=texts_of(row.get("keysecondary")),
        name=one_line(text_of(row.get("comment")), 200),
        enabled=row.get("disable") is not True,
        constant=row.get("constant") is True,
        selective=row.get("selective", True) is True,
        logic=_logic(row.get("selectiveLogic")),
        order=_whole(row.get("order"), 100),
        probability=_chance(row),
        place=PLACES[number] if 0 <= number < len(PLACES) else "after",
        depth=min(max(_whole(row.get("depth"), 4), 0), 1000),
        speaker=_SPEAKERS[_whole(row.get("role"), 0) % 3],
        scan_depth=_count(row, "scanDepth"),
        case_sensitive=_switch(row.get("caseSensitive")),
        whole_words=_switch(row.get("matchWholeWords")),
        timing=Timing(*(max(_whole(row.get(key), 0), 0) for key in ("sticky", "cooldown", "delay"))),
        recursion=_recursion(row, "excludeRecursion", "preventRecursion", "delayUntilRecursion"),
        grouping=_grouping(row, "groupOverride", "groupWeight", "useGroupScoring"),
    )


def _agnai(row: Mapping[str, Any]) -> LoreEntry:
    """Agnai: a higher weight stands nearer the end, a lower priority goes first."""
    return LoreEntry(
        uid=text_of(row.get("id")) or text_of(row.get("uid")),
        content=text_of(row.get("entry")),
        keys=texts_of(row.get("keywords")),
        name=one_line(text_of(row.get("name")), 200),
        enabled=row.get("enabled", True) is not False,
        constant=row.get("constant") is True,
        secondary_keys=texts_of(row.get("secondaryKeys")),
        selective=row.get("selective") is True,
        order=_whole(row.get("weight"), 100),
        priority=_whole(row.get("priority"), 0) if _is_number(row.get("priority")) else None,
        place="before",
    )


def _risu(row: Mapping[str, Any]) -> LoreEntry:
    """RisuAI: keys are one text between commas."""
    return LoreEntry(
        uid=text_of(row.get("id")),
        content=text_of(row.get("content")),
        keys=texts_of(row.get("key"), split=True),
        secondary_keys=texts_of(row.get("secondkey"), split=True),
        name=one_line(text_of(row.get("comment")), 200),
        constant=row.get("alwaysActive") is True,
        selective=row.get("selective") is True,
        order=_whole(row.get("insertorder"), 100),
        probability=min(max(number_of(row.get("activationPercent"), 100), 0), 100),
        whole_words=False,
        place="before",
    )


def _novelai(row: Mapping[str, Any]) -> LoreEntry:
    """NovelAI: the budget's priority is the place in the order."""
    raw = row.get("contextConfig")
    context: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    return LoreEntry(
        uid=text_of(row.get("id")),
        content=text_of(row.get("text")),
        keys=texts_of(row.get("keys")),
        name=one_line(text_of(row.get("displayName")), 200),
        enabled=row.get("enabled", True) is not False,
        constant=row.get("forceActivation") is True,
        order=_whole(context.get("budgetPriority"), 100),
        place="before",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _first_switch(*values: object) -> bool | None:
    return next((value for value in values if isinstance(value, bool)), None)


def _logic(value: object) -> Logic:
    number = _whole(value, 0)
    return Logic(number) if 0 <= number <= 3 else Logic.AND_ANY


def _chance(row: Mapping[str, Any]) -> float:
    if row.get("useProbability") is False or row.get("probability") in (None, ""):
        return 100.0
    return min(max(number_of(row.get("probability"), 100), 0), 100)


def _recursion(row: Mapping[str, Any], exclude: str, prevent: str, delay: str) -> Recursion:
    level = row.get(delay)
    number = 1 if level is True else max(_whole(level, 0), 0) if _is_number(level) else 0
    return Recursion(row.get(exclude) is True, row.get(prevent) is True, number)


def _grouping(row: Mapping[str, Any], override: str, weight: str, scoring: str) -> Grouping:
    names = texts_of(row.get("group"), split=True)
    return Grouping(names, row.get(override) is True, _whole(row.get(weight), 100), row.get(scoring) is True)
