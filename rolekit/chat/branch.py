"""The active branch of one conversation: the messages from the first to the head, and the ways to change it."""

from __future__ import annotations

from dataclasses import replace

from rolekit.chat import journal, nodes
from rolekit.chat.database import Database
from rolekit.chat.insets import Woven, with_woven
from rolekit.chat.journal import Kind, Mark
from rolekit.chat.moderation import without_decisions
from rolekit.chat.nodes import Draft
from rolekit.chat.tree import Node, storable
from rolekit.errors import RolekitError
from rolekit.text import one_line

_TITLE_CHARACTERS = 40


class Branch:
    """Every change is one journalled step in one transaction; path and head follow what is on disk."""

    def __init__(self, database: Database, conversation_id: str) -> None:
        """conversation_id: of one that exists; its path is read at once."""
        self.database = database
        self.id = conversation_id
        self.head: int | None = None
        self.path: list[Node] = []
        self.reload()

    def reload(self) -> None:
        """Read head and path again."""
        row = self.database.read("SELECT head FROM conversation WHERE id=?", (self.id,))[0]
        self.head = row["head"]
        self.path = nodes.load_path(self.database, self.head)

    def follow(self, before: list[Node], node: Node | None) -> None:
        """Let the path be what came before, and node, which is on disk and the head there."""
        if node is not None:
            self.path = [*before, node]
            self.head = node.id

    def node(self, node_id: int | None) -> Node:
        """The node with this id, or the last of the path. Raises RolekitError when it is not here."""
        if node_id is None and not self.path:
            raise RolekitError("There is no message yet.", "Say something first.")
        if node_id is None:
            return self.path[-1]
        node = nodes.load(self.database, node_id)
        if node.conversation_id != self.id:
            raise RolekitError(f"Message {node_id} belongs to another conversation.", "Open that one first.")
        return node

    def path_to(self, node_id: int | None) -> list[Node]:
        """The messages up to node_id."""
        for index, node in enumerate(self.path):
            if node.id == node_id:
                return self.path[: index + 1]
        return nodes.load_path(self.database, node_id)

    def add_user(self, text: str, extra: str = "") -> tuple[Node, int]:
        """The user's new message, and the step it makes. The first one gives the conversation its title."""
        with self.database.writing() as connection:
            node_id = nodes.insert(connection, self.id, self.head, Draft("user", text, extra=extra))
            step = journal.record(
                connection, self.id, "say", self.head, node_id, node_id=node_id, mark="deleted"
            )
            connection.execute(
                "UPDATE conversation SET title=? WHERE id=? AND title=''",
                (one_line(storable(text), _TITLE_CHARACTERS), self.id),
            )
        node = self.node(node_id)
        self.follow(self.path, node)
        return node, step

    def weave(self, node: Node, woven: Woven, seat: str = "") -> Node:
        """The node with what stands beside it (for that role of a room), which from now on never changes."""
        extra = storable(with_woven(node.extra, woven, seat))
        with self.database.writing() as connection:
            connection.execute("UPDATE node SET extra=? WHERE id=?", (extra, node.id))
        changed = replace(node, extra=extra)
        self.path = [changed if known.id == node.id else known for known in self.path]
        return changed

    def rewrite(self, node: Node, text: str, extra: str) -> Node:
        """The node with another text in its place: moderation redacted it, and the old one is not to be kept."""
        with self.database.writing() as connection:
            values = (storable(text), storable(extra), node.id)
            connection.execute("UPDATE node SET text=?, token_ids=x'', extra=? WHERE id=?", values)
        changed = replace(node, text=text, token_ids=(), extra=extra)
        self.path = [changed if known.id == node.id else known for known in self.path]
        return changed

    def begin_reply(self, kind: Kind, node_id: int, step: int) -> None:
        """Note that a reply has begun: as a part of the user's step, or as one of its own where step is 0."""
        with self.database.writing() as connection:
            if step:
                journal.extend(connection, self.id, step, node_id)
            else:
                journal.record(connection, self.id, kind, self.head, node_id)

    def swipe(self, node: Node, step: int) -> bool:
        """Go step versions on from node, to where that branch was left; False when there is no such version."""
        versions = nodes.load_versions(self.database, node)
        target = node.version - 1 + step
        if not step or not 0 <= target < len(versions):
            return False
        self._record("swipe", nodes.latest_leaf(self.database, versions[target]))
        return True

    def edit(self, node: Node, text: str) -> Node:
        """A version of node with this text, at the end of the branch."""
        draft = Draft(
            node.speaker,
            text,
            pinned=node.pinned,
            edited=True,
            extra=without_decisions(with_woven(node.extra, None)),
        )
        with self.database.writing() as connection:
            edited = nodes.insert(connection, self.id, node.parent_id, draft)
            self._record("edit", edited)
        return self.node(edited)

    def delete(self, node: Node) -> None:
        """Mark node as deleted, on every branch that goes through it."""
        if node.deleted:
            return
        at_end = node.id == self.head
        head = nodes.live_ancestor(self.database, node.parent_id) if at_end else self.head
        self._record("delete", head, node.id, "deleted", True)

    def pin(self, node: Node, pinned: bool) -> None:
        """Set or clear node's pin."""
        if node.pinned != pinned:
            self._record("pin", self.head, node.id, "pinned", pinned)

    def show(self, node: Node) -> None:
        """Go to the branch with node, to where it was left; a deleted node comes back."""
        if node.deleted or all(known.id != node.id for known in self.path):
            mark: Mark = "deleted" if node.deleted else ""
            self._record("show", nodes.latest_leaf(self.database, node), node.id, mark, False)

    def undo(self, step: int | None = None) -> str:
        """Undo the latest step, or the one named; a sentence that says so, or "" when there is none."""
        label = journal.take_back(self.database, self.id, step)
        self.reload()
        return label

    def redo(self) -> str:
        """Redo the step undone last; a sentence that says so, or "" when there is none."""
        label = journal.do_again(self.database, self.id)
        self.reload()
        return label

    def _record(
        self, kind: Kind, head: int | None, node_id: int | None = None, mark: Mark = "", value: bool = False
    ) -> None:
        with self.database.writing() as connection:
            journal.record(
                connection, self.id, kind, self.head, head, node_id=node_id, mark=mark, value=value
            )
        self.reload()
