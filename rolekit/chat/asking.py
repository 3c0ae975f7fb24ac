"""What a request to a backend needs beside the messages: its seed, and the names that end a reply."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from rolekit.roles.role import Role


def reply_seed(seed: int, depth: int, version: int) -> int:
    """The seed of one reply: the same for the same conversation seed and place, another for each version."""
    digest = blake2b(f"{seed}/{depth}/{version}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) % (2**31 - 1) + 1


def stop_names(role: Role, user: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    """How a reply would begin to speak for the user or for another role; never one of the role's own names."""
    own = {name.casefold() for name in (role.name, *role.aliases)}
    usual = ("You", "User", "你", "用户") if role.language.startswith("zh") else ("You", "User")
    names = dict.fromkeys(name for name in (user.strip(), *others, *usual) if name)
    return tuple(name for name in names if name.casefold() not in own)
