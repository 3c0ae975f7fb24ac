"""Which KV a reply starts from, and which is worth keeping: nothing is evaluated twice, nothing reused wrongly."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import llama_cpp

from rolekit.engine.context import Context, shared_length
from rolekit.engine.snapshots import Snapshot, Snapshots

_WORTH_TOKENS = 16
"""Restoring pays when it saves evaluating this many tokens."""
_SAVE_TOKENS = 256
"""New tokens that are saved without waiting for the end of the conversation, if they are a quarter of it."""


@dataclass(slots=True)
class _Held:
    """What sequence 0 of the context is at the moment."""

    owner: str = ""
    """Whose snapshot it belongs to; empty means nobody's."""
    made_by: dict[str, str] = field(default_factory=dict)
    saved_tokens: int = 0
    """Its first tokens that the snapshot on disk holds too."""


class KvKeeper:
    """Keeps one context's KV and the snapshots on disk in step.

    Call begin() before evaluating a prompt, keep_role() when the role block has just been evaluated, end() when
    the reply is complete, flush() when nobody waits, close() at the end.
    """

    def __init__(self, context: Context, snapshots: Snapshots, constants: dict[str, str]) -> None:
        """constants: everything but the adapters that the KV depends on (model, context, types, versions)."""
        self._context = context
        self._snapshots = snapshots
        self._constants = {**constants, "library": llama_cpp.__version__, "llama.cpp": _library_version()}
        self._held = _Held()
        self._owed: int | None = None
        self._waiting: list[tuple[str, dict[str, str], list[int], bytearray]] = []

    def begin(
        self, conversation: str, ids: Sequence[int], role_tokens: int, adapters: tuple[str, ...]
    ) -> tuple[int, bool]:
        """Make the context hold as much of ids as memory or disk allow; nothing made by other adapters.

        Returns how many tokens it holds now, and whether the role block is known on disk.
        """
        self._owed = None
        made_by = {**self._constants, "adapters": " ".join(adapters)}
        owner = f"chat:{conversation}" if conversation else ""
        if (owner, made_by) != (self._held.owner, self._held.made_by):
            self._set_aside()
            if made_by != self._held.made_by:
                self._context.clear()
            self._held = _Held(owner, made_by)
        in_memory = self._context.reusable(ids)
        role_owner = self._role_owner(ids[:role_tokens])
        role_known = bool(self._find(role_owner, made_by))
        usable = {name: self._usable(self._find(name, made_by), ids) for name in (owner, role_owner) if name}
        for name, tokens in sorted(usable.items(), key=lambda item: -item[1]):
            if tokens >= in_memory + _WORTH_TOKENS and self._restore(name, made_by):
                break
        reused = self._context.begin(ids)
        self._held.saved_tokens = min(self._held.saved_tokens, reused)
        return reused, role_known

    @staticmethod
    def _role_owner(role_ids: Sequence[int]) -> str:
        if len(role_ids) < _WORTH_TOKENS:
            return ""
        return "role:" + hashlib.sha256(array("i", role_ids).tobytes()).hexdigest()

    def _find(self, owner: str, made_by: dict[str, str]) -> list[int]:
        """The ids of owner's snapshot, in memory or on disk."""
        for name, maker, ids, _ in self._waiting:
            if (name, maker) == (owner, made_by):
                return ids
        return self._snapshots.ids(owner, made_by) if owner else []

    def _usable(self, found: Sequence[int], ids: Sequence[int]) -> int:
        """How many of ids a snapshot of found would save; one that cannot be cut must be all prefix."""
        shared = min(shared_length(found, ids), len(ids) - 1)
        return shared if self._context.model.rolls_back or shared == len(found) else 0

    def _restore(self, owner: str, made_by: dict[str, str]) -> bool:
        waiting = (
            Snapshot(ids, state)
            for name, maker, ids, state in self._waiting
            if (name, maker) == (owner, made_by)
        )
        snapshot = next(waiting, None) or self._snapshots.load(owner, made_by)
        if snapshot is None or len(snapshot.ids) > self._context.size:
            return False
        restored = self._context.restore(snapshot.ids, snapshot.state)
        self._held.saved_tokens = len(snapshot.ids) if restored and owner == self._held.owner else 0
        return restored

    def keep_role(self, ids: Sequence[int]) -> None:
        """The context holds exactly ids, a role block that is not on disk yet: keep it (written by flush)."""
        owner = self._role_owner(ids)
        if owner and self._snapshots.enabled:
            self._waiting.append((owner, self._held.made_by, list(ids), self._context.state()))

    def end(self, ids: Sequence[int]) -> None:
        """The conversation is ids now; what the context holds beyond them was not said."""
        shared = shared_length(self._context.tokens[0], ids)
        if self._context.model.rolls_back:
            self._context.cut(shared)
        held = len(self._context.tokens[0])
        self._held.saved_tokens = min(self._held.saved_tokens, held)
        # A reply that was cut off ends in a token that nobody needed to evaluate so far.
        self._owed = ids[-1] if held == shared == len(ids) - 1 else None

    def flush(self) -> None:
        """Write what is waiting, and the conversation if much has been added since it was last saved."""
        self.pay()
        tokens = len(self._context.tokens[0])
        if tokens - self._held.saved_tokens >= max(_SAVE_TOKENS, tokens // 4):
            self._set_aside()
        self._write()

    def pay(self) -> None:
        """Evaluate the one token of the conversation that is missing, so that the next turn need not."""
        if self._owed is not None and len(self._context.tokens[0]) < self._context.size:
            self._context.append(self._owed)
        self._owed = None

    def _write(self) -> None:
        for owner, made_by, ids, state in self._waiting:
            self._snapshots.save(owner, made_by, ids, state)
        self._waiting.clear()

    def _set_aside(self) -> None:
        """Copy the conversation's unsaved state, to be written later."""
        held, ids = self._held, self._context.tokens[0]
        if not held.owner or not self._snapshots.enabled or len(ids) <= held.saved_tokens:
            return
        self._waiting.append((held.owner, held.made_by, list(ids), self._context.state()))
        held.saved_tokens = len(ids)

    def close(self) -> None:
        """Save the conversation and all that is waiting."""
        self.pay()
        self._set_aside()
        self._write()


def _library_version() -> str:
    version: bytes = llama_cpp.llama_version() if hasattr(llama_cpp, "llama_version") else b""
    return version.decode("ascii", "replace")
