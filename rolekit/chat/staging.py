"""How a role is put on stage in one chat: its block with persona and lore, and what is woven into the turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rolekit.chat.recall import Recall
from rolekit.chat.state import ChatState, Persona, Summary
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.chat.weaving import Loom, Reminder
from rolekit.messages import Message
from rolekit.roles.block import Setting, is_unnamed, opening_messages, other_greetings, scene_of
from rolekit.roles.facts import Fact
from rolekit.roles.lore.firing import LoreOptions
from rolekit.roles.lore.shelf import Shelf, shelf_of
from rolekit.roles.macros import Scene, expand
from rolekit.roles.role import Role
from rolekit.text import one_line

_LORE_SHARE = 8
"""Lore that is always told may take one part in this many of the context."""


def greeting_texts(role: Role, user: str, persona: Persona, conversation_id: str) -> list[str]:
    """What a new chat may begin with: the greeting, then the others; macros mean this moment."""
    scene = Scene(now=datetime.now(UTC).astimezone(), seed=conversation_id, chat_seed=conversation_id)
    name, setting = persona.name or user, Setting(persona.description, scene=scene)
    greetings = [
        message.text for message in opening_messages(role, name, setting) if message.block == "greeting"
    ]
    return [*greetings, *other_greetings(role, name, setting)] if greetings else []


class Staging:
    """The role of one chat. Everything it gives is the same for the same state, so that prompts keep their prefix."""

    def __init__(
        self,
        role: Role,
        info: ConversationInfo,
        state: ChatState,
        count_tokens: Callable[[str], int],
        context_tokens: int,
        *,
        memory: bool = True,
        facts: Sequence[Fact] = (),
        others: Sequence[str] = (),
    ) -> None:
        """others: the names of the roles that are in the room too."""
        self.role = role
        self.state = state
        self.user = state.persona.name or info.user
        unnamed = "用户" if role.language.startswith("zh") else "User"
        self.user_label = unnamed if is_unnamed(self.user) else one_line(self.user, 80)
        """What the user's lines begin with in a room."""
        self._others = tuple(one_line(name, 200) for name in others)
        self._id = info.id
        self._began = datetime.fromtimestamp(info.created_at, UTC).astimezone()
        self._shelf: Shelf = shelf_of(role)
        self.notices = self._shelf.notices
        self.setting = self._setting(count_tokens, context_tokens)
        names = (self.user, role.name)
        self._recall = Recall(names, role.language, facts) if memory else None

    def _setting(self, count_tokens: Callable[[str], int], context_tokens: int) -> Setting:
        group = ", ".join((one_line(self.role.name, 200), *self._others)) if self._others else ""
        plain = Setting(
            persona=self.state.persona.description,
            scene=Scene(group=group, now=self._began, seed=self._id, chat_seed=self._id),
            company=(*self._others, self.user_label) if self._others else (),
        )
        if not self._shelf.books:
            return plain
        scene = scene_of(self.role, self.user, plain)
        budget = context_tokens // _LORE_SHARE or LoreOptions().budget_tokens
        told = self._shelf.always(
            LoreOptions(budget_tokens=budget), count_tokens, lambda text: expand(text, scene)
        )
        before = tuple(row.text for row in told if row.entry.place == "before")
        after = tuple(row.text for row in told if row.entry.place != "before")
        return replace(plain, lore_before=before, lore_after=after)

    def opening(self, summaries: Sequence[Summary] = ()) -> list[Message]:
        """The role block, its examples, and what is remembered of folded turns; the greeting is a node of its own."""
        messages = [m for m in opening_messages(self.role, self.user, self.setting) if m.block != "greeting"]
        return messages + [Message("system", summary.text, "summary") for summary in summaries]

    def loom(self, path: Sequence[Node]) -> Loom:
        """What the newest message of path is woven with."""
        scene = scene_of(self.role, self.user, self.setting)
        node = path[-1]
        said = [other for other in path[:-1] if other.speaker != "system" and other.text]
        words = {
            "lastmessage": said[-1].text if said else "",
            "lastusermessage": next((n.text for n in reversed(said) if n.speaker == "user"), ""),
            "lastcharmessage": next((n.text for n in reversed(said) if n.speaker == "assistant"), ""),
        }
        now = datetime.fromtimestamp(node.created_at, UTC).astimezone()
        moment = Scene(
            char=scene.char,
            user=scene.user,
            group=scene.group,
            words={**scene.words, **words},
            now=now,
            idle=now - datetime.fromtimestamp(said[-1].created_at, UTC) if said else None,
            seed=f"{self._id}/{node.id}",
            chat_seed=self._id,
        )
        names = (self.user, self.role.name)
        return Loom(names, moment, self._shelf.changing, self._reminders(), LoreOptions(), self._recall)

    def _reminders(self) -> tuple[Reminder, ...]:
        notes = self.role.notes
        reminders = [
            Reminder(f"note {number}", note.text, "the card's note", note.depth, note.speaker)
            for number, note in enumerate(notes)
        ]
        if self.state.note.text:
            reminders.append(Reminder("author", self.state.note.text, "author's note", self.state.note.depth))
        if self.role.post_history:
            reminders.append(Reminder("post", self.role.post_history, "post-history instructions", 0))
        return tuple(reminders)
