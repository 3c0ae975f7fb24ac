"""The roles at hand: the bundled ones and the user's own, found by whatever name somebody types."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.paths import roles_dir, write_text
from rolekit.roles.cards.card import CARD_SUFFIXES
from rolekit.roles.names import fold, match, slug_of
from rolekit.roles.role import Role
from rolekit.roles.toml import load_role, parse_role
from rolekit.roles.writing import to_toml
from rolekit.text import one_line

_LISTED = 12


@dataclass(frozen=True, slots=True)
class Entry:
    """One role file: what it holds, or why it cannot be used."""

    slug: str
    """The file's name without .toml."""
    path: Path
    role: Role | None
    """None where the file has faults."""
    bundled: bool
    """Comes with rolekit; False for the user's own."""
    error: str = ""
    """All faults of the file, for people to read; empty where there is a role."""

    @property
    def title(self) -> str:
        """The role's name, safe to print; the slug where the file is broken."""
        return one_line(self.role.name if self.role else self.slug)

    def loaded(self) -> Role:
        """The role itself. Raises RolekitError with all faults where the file is broken."""
        if self.role is None:
            raise RolekitError(self.error, f"\nMend it, or remove {one_line(str(self.path), 300)}.")
        return self.role


def bundled_dir() -> Path:
    """The folder of the roles that come with rolekit."""
    from importlib.resources import files

    return Path(str(files("rolekit.profiles")))


class RoleLibrary:
    """Every role file at hand; a user's file wins over a bundled one with the same name.

    Files are read again only when they have changed, so asking often is cheap.
    """

    def __init__(self) -> None:
        self._read: dict[Path, tuple[int, int, Entry]] = {}

    def all(self) -> list[Entry]:
        """All entries by name, the broken ones too: a faulty file is shown, never a reason to stop."""
        entries = {entry.slug: entry for entry in self._folder(bundled_dir(), bundled=True)}
        entries |= {entry.slug: entry for entry in self._folder(roles_dir(), bundled=False)}
        return sorted(entries.values(), key=lambda entry: (fold(entry.title), entry.slug))

    def find(self, name: str) -> Entry:
        """The role somebody means: by slug, name, alias, the beginning of one, a near miss, or a .toml file's path.

        A character card's path works too. Raises RolekitError when several fit (they are listed) or none does (the three nearest are named). A broken
        file is found too; its faults come with Entry.loaded().
        """
        if _is_path(name):
            path = Path(os.path.expanduser(name))
            return self._entry(path, bundled=path.parent == bundled_dir())
        entries = {entry.slug: entry for entry in self.all()}
        if name in entries:
            return entries[name]
        if not fold(name):  # only signs, an emoji say: nothing to be forgiving about
            exact = [e for e in entries.values() if e.role and name.strip() in (e.role.name, *e.role.aliases)]
            if len(exact) == 1:
                return exact[0]
        matched = match(name, {slug: _names(entry) for slug, entry in entries.items()})
        if len(matched.found) == 1:
            return entries[matched.found[0]]
        own = [
            slug
            for slug in matched.found
            if not entries[slug].bundled and fold(name) in _names(entries[slug])
        ]
        if len(own) == 1:
            return entries[own[0]]
        shown = one_line(name, 60)
        if matched.found:
            listed = ", ".join(_label(entries[slug]) for slug in matched.found[:_LISTED])
            raise RolekitError(f'"{shown}" could be any of these roles: {listed}.', "Say which one.")
        if not entries:
            raise RolekitError("There are no roles.", "Make one with `rolekit roles new NAME`.")
        nearest = ", ".join(_label(entries[slug]) for slug in matched.nearest)
        raise RolekitError(
            f'No role is called "{shown}"; the nearest are {nearest}.',
            "See them all with `rolekit roles list`, or make one with `rolekit roles new NAME`.",
        )

    def search(self, text: str) -> list[Entry]:
        """The entries whose names, tags, language or origin hold every word of text, best first; all for ""."""
        wanted = fold(text)
        if not wanted:
            return self.all()
        ranked: list[tuple[int, int, Entry]] = []
        for position, entry in enumerate(self.all()):
            rank = _rank(wanted, entry)
            if rank >= 0:
                ranked.append((rank, position, entry))
        return [entry for _, _, entry in sorted(ranked, key=lambda row: row[:2])]

    def save(self, role: Role, slug: str | None = None, *, overwrite: bool = False) -> Path:
        """Write a role among the user's own and return its file; an existing one only goes with overwrite.

        Raises RolekitError when the role has faults, the name is taken, or the place cannot be written.
        """
        path = roles_dir() / f"{slug_of(slug or role.name)}.toml"
        text = to_toml(role)
        parse_role(text, path)
        if path.exists() and not overwrite:
            raise RolekitError(
                f"You already have a role in {one_line(str(path), 300)}.",
                "Choose another name, or remove that file first.",
            )
        write_text(path, text)
        return path

    def _folder(self, folder: Path, *, bundled: bool) -> list[Entry]:
        try:
            paths = sorted(
                path for path in folder.iterdir() if path.suffix == ".toml" and path.name[0] != "."
            )
        except OSError:
            return []
        return [self._entry(path, bundled) for path in paths]

    def _entry(self, path: Path, bundled: bool) -> Entry:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):
            stamp = (-1, -1)
        known = self._read.get(path)
        if known is not None and known[:2] == stamp:
            return known[2]
        try:
            entry = Entry(path.stem, path, _load(path), bundled)
        except RolekitError as error:
            entry = Entry(path.stem, path, None, bundled, error.what_happened)
        self._read[path] = (*stamp, entry)
        return entry


def _load(path: Path) -> Role:
    """The role in a role file or a character card; files that it names are found from anywhere."""
    if path.suffix.lower() in CARD_SUFFIXES:
        from rolekit.roles.cards.reading import read_card
        from rolekit.roles.cards.to_role import role_of

        return role_of(read_card(path)).role.model_copy(update={"card": os.path.abspath(path)})
    role = load_role(path)
    if not role.card and not role.lorebooks:
        return role
    folder = os.path.abspath(path.parent)
    beside = tuple(os.path.join(folder, name) for name in role.lorebooks)
    card = os.path.join(folder, role.card) if role.card else ""
    return role.model_copy(update={"card": card, "lorebooks": beside})


def _is_path(name: str) -> bool:
    """Whether a file is meant; a name may hold a slash too, so such a path has to exist."""
    return name.lower().endswith((".toml", *CARD_SUFFIXES)) or (
        os.sep in name and os.path.isfile(os.path.expanduser(name))
    )


def _names(entry: Entry) -> list[str]:
    names = [entry.slug]
    if entry.role is not None:
        names += [entry.role.name, *entry.role.aliases]
    return [folded for name in names if (folded := fold(name))]


def _label(entry: Entry) -> str:
    slug = one_line(entry.slug)
    return f"{entry.title} ({slug})" if entry.title != slug else slug


def _rank(wanted: str, entry: Entry) -> int:
    """0 a name begins so, 1 a word of a name does, 2 it stands elsewhere in names, tags, language; -1 nowhere."""
    names = _names(entry)
    if any(name.startswith(wanted) for name in names):
        return 0
    words = wanted.split()
    if any(all(any(word.startswith(part) for word in name.split()) for part in words) for name in names):
        return 1
    role = entry.role
    rest = [role.language, role.origin, *role.tags] if role else []
    text = " ".join([*names, *map(fold, rest)])
    return 2 if all(part in text for part in words) else -1
