"""Which KV a reply starts from, and which is worth keeping: nothing is evaluated twice, nothing reused wrongly."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import llama_cpp

from rolekit.engine.context import Context, shared_length
from rolekit.engine.snapshots import Snapshot, Snapshots

_WORTH_TOKENS = 16
"""Restoring pays when it saves evaluating this many tokens."""
_PARKED_BYTES = 256 << 20
"""So much is held in memory of conversations that are not in the context; the oldest go to the disk first."""
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


@dataclass(frozen=True, slots=True)
class _Parked:
    """A state that was put aside in memory."""

    owner: str
    made_by: dict[str, str]
    ids: list[int]
    state: bytearray
    saved_tokens: int
    """Its first tokens that the snapshot on disk holds too."""

    @property
    def due(self) -> bool:
        """Whether it holds enough more than the disk does to be written before the end."""
        return len(self.ids) - self.saved_tokens >= max(_SAVE_TOKENS, len(self.ids) // 4)


class KvKeeper:
    """Keeps one context's KV and the snapshots on disk in step.

    What is put aside stays in memory too, so that the roles of a room, who take turns at one context, find their own
    KV again without the disk, and a long state is not written anew for every short reply.

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
        self._parked: list[_Parked] = []

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
        """The ids of owner's state, in memory or on disk."""
        parked = self._parked_of(owner, made_by)
        if parked is not None:
            return parked.ids
        return self._snapshots.ids(owner, made_by) if owner else []

    def _parked_of(self, owner: str, made_by: dict[str, str]) -> _Parked | None:
        return next((p for p in self._parked if (p.owner, p.made_by) == (owner, made_by)), None)

    def _usable(self, found: Sequence[int], ids: Sequence[int]) -> int:
        """How many of ids a snapshot of found would save; one that cannot be cut must be all prefix."""
        shared = min(shared_length(found, ids), len(ids) - 1)
        return shared if self._context.model.rolls_back or shared == len(found) else 0

    def _restore(self, owner: str, made_by: dict[str, str]) -> bool:
        parked = self._parked_of(owner, made_by)
        snapshot = Snapshot(parked.ids, parked.state) if parked else self._snapshots.load(owner, made_by)
        if snapshot is None or len(snapshot.ids) > self._context.size:
            return False
        restored = self._context.restore(snapshot.ids, snapshot.state)
        saved = parked.saved_tokens if parked else len(snapshot.ids)
        self._held.saved_tokens = saved if restored and owner == self._held.owner else 0
        return restored

    def keep_role(self, ids: Sequence[int]) -> None:
        """The context holds exactly ids, a role block that is not on disk yet: keep it (written by flush)."""
        owner = self._role_owner(ids)
        if owner and self._snapshots.enabled:
            self._park(_Parked(owner, self._held.made_by, list(ids), self._context.state(), 0))

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
            self._held.saved_tokens = tokens
        self._write(lambda parked: parked.due or parked.owner.startswith("role:"))

    def pay(self) -> None:
        """Evaluate the one token of the conversation that is missing, so that the next turn need not."""
        if self._owed is not None and len(self._context.tokens[0]) < self._context.size:
            self._context.append(self._owed)
        self._owed = None

    def _park(self, parked: _Parked) -> None:
        """Hold a state in memory in place of its owner's last one; what there is no room for is written and let go."""
        same = (parked.owner, parked.made_by)
        self._parked = [*(other for other in self._parked if (other.owner, other.made_by) != same), parked]
        held = sum(len(other.state) for other in self._parked)
        while held > _PARKED_BYTES and len(self._parked) > 1:
            oldest = self._parked.pop(0)
            held -= len(oldest.state)
            self._save(oldest)

    def _write(self, wanted: Callable[[_Parked], bool]) -> None:
        """Write what is wanted of what the disk does not have. What the context holds, and role blocks, are let go."""
        kept = []
        for parked in self._parked:
            if wanted(parked) and self._save(parked):
                parked = replace(parked, saved_tokens=len(parked.ids))
            live = (parked.owner, parked.made_by) == (self._held.owner, self._held.made_by)
            if not live and not parked.owner.startswith("role:"):
                kept.append(parked)
        self._parked = kept

    def _save(self, parked: _Parked) -> bool:
        if len(parked.ids) <= parked.saved_tokens:
            return False
        return self._snapshots.save(parked.owner, parked.made_by, parked.ids, parked.state)

    def _set_aside(self) -> None:
        """Copy the conversation's state, to be found again, and to be written later where the disk has less."""
        held, ids = self._held, self._context.tokens[0]
        if not held.owner or not self._snapshots.enabled or not ids:
            return
        parked = self._parked_of(held.owner, held.made_by)
        if parked is None or parked.ids != ids:
            self._park(_Parked(held.owner, held.made_by, list(ids), self._context.state(), held.saved_tokens))

    def close(self) -> None:
        """Save the conversation and all that is waiting."""
        self.pay()
        if len(self._context.tokens[0]) > self._held.saved_tokens:
            self._set_aside()
        self._write(lambda parked: True)
        self._parked.clear()


def _library_version() -> str:
    version: bytes = llama_cpp.llama_version() if hasattr(llama_cpp, "llama_version") else b""
    return version.decode("ascii", "replace")
