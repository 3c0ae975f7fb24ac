"""A reply on its way to the disk: begun at the first word, saved twice a second, finished or stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from rolekit.chat import nodes
from rolekit.chat.database import Database
from rolekit.chat.nodes import Draft
from rolekit.chat.tree import Node, State
from rolekit.errors import RolekitError
from rolekit.messages import Reply

CHECKPOINT_SECONDS = 0.5


class ReplyWriter:
    """Writes one streamed reply into a new node below parent_id.

    begun is called inside the transaction that makes the node, with its id, to move the head there. A reply that
    continues another starts with that one's text.
    """

    def __init__(
        self,
        database: Database,
        conversation_id: str,
        parent_id: int | None,
        *,
        vocabulary: str,
        begun: Callable[[int], None],
        base: Node | None = None,
        extra: str = "",
    ) -> None:
        """vocabulary: whose token ids the reply has; extra: JSON that is kept beside its text."""
        self._database = database
        self._conversation_id = conversation_id
        self._parent_id = parent_id
        self._vocabulary = vocabulary
        self._begun = begun
        self._base = base
        self.extra = extra
        """What is kept beside the text (JSON); may change until finish()."""
        self._pieces: list[str] = [base.text] if base else []
        self._saved_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.node: Node | None = None
        """The node as last saved; None before the first word."""

    def add(self, text: str) -> None:
        """Take the next piece: the first is saved at once, the others soon, also if the stream then stalls."""
        self._pieces.append(text)
        wait = self._saved_at + CHECKPOINT_SECONDS - time.monotonic()
        if self.node is None or wait <= 0:
            self._save(self._so_far("streaming"))
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._checkpoint)

    def finish(self, reply: Reply) -> Node | None:
        """The finished node; None when the reply was stopped before its first word, or had none to add."""
        if not reply.text and self.node is None and (reply.stop_reason == "cancelled" or self._base):
            return self._base
        ids = reply.token_ids if self._vocabulary else ()
        text = reply.text
        if self._base is not None:
            text = self._base.text + text
            known = self._base.vocabulary == self._vocabulary and self._base.token_ids
            ids = self._base.token_ids + ids if known and ids else ()
        self._save(
            Draft(
                "assistant",
                text,
                token_ids=ids,
                vocabulary=self._vocabulary if ids else "",
                state="stopped" if reply.stop_reason in ("cancelled", "moderated") else "complete",
                stop_reason=reply.stop_reason,
                stats=reply.stats,
                extra=self.extra,
            )
        )
        return self.node

    def keep(self) -> None:
        """The stream broke off: what came is kept as stopped."""
        if self.node is not None:
            with suppress(
                RolekitError
            ):  # a full disk, most likely, is already being told; the last save stands
                self._save(self._so_far("stopped"))

    def _checkpoint(self) -> None:
        with suppress(RolekitError):  # the next piece is saved as well, and tells
            self._save(self._so_far("streaming"))

    def _so_far(self, state: State) -> Draft:
        return Draft("assistant", "".join(self._pieces), state=state, extra=self.extra)

    def _save(self, draft: Draft) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self._database.writing() as connection:
            if self.node is None:
                node_id = nodes.insert(connection, self._conversation_id, self._parent_id, draft)
                self._begun(node_id)
            else:
                nodes.replace(connection, self.node.id, draft)
        if self.node is None:
            self.node = nodes.load(self._database, node_id)
        self.node = replace(
            self.node,
            text=draft.text,
            token_ids=tuple(draft.token_ids),
            vocabulary=draft.vocabulary,
            state=draft.state,
            stop_reason=draft.stop_reason,
            stats=draft.stats,
            extra=draft.extra,
        )
        self._saved_at = time.monotonic()
