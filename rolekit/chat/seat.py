"""One role's place in a conversation: what it is made of, and what it alone knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rolekit.chat.asking import stop_names
from rolekit.chat.branch import Branch
from rolekit.chat.casting import Adapters, Player
from rolekit.chat.events import ContextReport
from rolekit.chat.guard import Guard, load_rules
from rolekit.chat.options import ChatOptions
from rolekit.chat.prompting import Prompting
from rolekit.chat.report import PromptReport, context_report, prompt_report
from rolekit.chat.room import Room
from rolekit.chat.state import AuthorsNote, ChatState, Persona
from rolekit.chat.store import Store
from rolekit.chat.tree import Node
from rolekit.chat.turns import names_in
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.roles.facts import facts_file, notice_of, read_facts
from rolekit.roles.role import Role


@dataclass(slots=True)
class Seat:
    """A role with its own prompt, lore, notes, summaries, fold, guard and adapters; it shares only what is said."""

    role: Role
    slug: str
    prompting: Prompting
    guard: Guard | None
    names: tuple[str, ...]
    """What this role may be called here."""
    others: tuple[str, ...]
    """Names of the other roles, under which this one never speaks."""
    adapters: Adapters | None
    """What the backend uses while this role speaks; None: what it was opened with."""
    kv_name: str
    """Names the KV that is this role's own."""
    fact_notices: tuple[str, ...] = ()
    """What is wrong with the file of its facts."""

    @property
    def state(self) -> ChatState:
        """The role's author's note and summaries, and the user's persona."""
        return self.prompting.state

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of the role's lorebooks and facts: a file that could not be read, say."""
        return self.prompting.staging.notices + self.fact_notices

    @property
    def user(self) -> str:
        """What the role calls the user."""
        return self.prompting.staging.user

    def use(self, backend: Backend, *, keep_adapters: bool) -> None:
        """Speak through another backend."""
        self.prompting.backend = backend
        if self.adapters and not keep_adapters:
            self.adapters = ()

    def change(self, *, note: AuthorsNote | None = None, persona: Persona | None = None) -> None:
        """Keep another author's note, or be talked to by somebody else."""
        state = self.state
        self.prompting.set_state(replace(state, note=note or state.note, persona=persona or state.persona))

    @property
    def label(self) -> str:
        """What the user's lines begin with in a room."""
        return self.prompting.staging.user_label

    @property
    def stop_names(self) -> tuple[str, ...]:
        """Under which names a line would be somebody else's."""
        return stop_names(self.role, self.user, self.others)


def seat_prompt(seat: Seat, path: Sequence[Node], max_tokens: int) -> PromptReport:
    """The role's next prompt as it stands, part by part. Raises RolekitError where it does not fit."""
    plan = seat.prompting.plan(path, max_tokens)
    return prompt_report(seat.prompting.backend, (seat.user, seat.role.name), plan.messages)


def seat_context(seat: Seat, path: Sequence[Node], max_tokens: int) -> ContextReport:
    """What the role's next prompt is made of, token by token; what is folded is listed too."""
    prompting, seen = seat.prompting, seat.prompting.seen(path)
    try:
        plan = prompting.plan(path, max_tokens)
        examples_kept, kept = not plan.fold.examples, plan.kept
    except RolekitError:  # too long as it is: show all of it, so that the user sees what to shorten
        examples_kept, kept = True, frozenset(node.id for node in seen)
    names = (seat.user, seat.role.name)
    opening = prompting.opening()
    return context_report(prompting.backend, names, opening, seen, kept=kept, examples_kept=examples_kept)


def seats_of(
    store: Store,
    branch: Branch,
    backend: Backend,
    players: Sequence[Player],
    room: Room | None,
    options: ChatOptions,
) -> tuple[Seat, ...]:
    """A seat for each player. Raises RolekitError naming the faults of a role's rules."""
    roles = {player.slug: player.role for player in players}
    seats = []
    for player in players:
        path = facts_file(player.slug)
        facts = read_facts(path, (player.role.name, player.slug, *player.role.aliases))
        prompting = Prompting(
            store,
            branch,
            player.role,
            branch.id,
            backend,
            memory=options.memory,
            seat=player.slug if room else "",
            room=room,
            facts=facts.facts,
        )
        others = tuple(name for slug in roles if slug != player.slug for name in names_in(roles, slug))
        names = stop_names(player.role, prompting.staging.user, others)
        seats.append(
            Seat(
                player.role,
                player.slug,
                prompting,
                Guard(names, load_rules(player.slug), bool(others)) if options.guard else None,
                names_in(roles, player.slug),
                others,
                player.adapters if room else None,
                f"{branch.id}/{player.slug}" if room else branch.id,
                notice_of(facts, path),
            )
        )
    return tuple(seats)
