"""Summing up what will be folded next, in the role's own voice, before it is folded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from rolekit.chat import memory
from rolekit.chat.memory import Turn, turns_of
from rolekit.chat.prompting import Prompting
from rolekit.chat.state import Summary
from rolekit.chat.tree import Node
from rolekit.messages import Message, Reply, Request, Sampling
from rolekit.roles.role import Role

_DUE_SHARE = 0.6
"""From this part of the context on, a fold is near enough to prepare for."""
_STRETCH_SHARE = 4
"""A summary covers about one part in this many of the context, which is what a fold frees."""
_MOST_TOKENS = 160
_ENGLISH = (
    "Here is an earlier part of your conversation with {user}:\n\n{talk}\n\n"
    "Write down what you, {char}, remember of it, in the first person and in at most 90 words: names, places, "
    "promises, what {user} told you, what you felt. Only what was said. Write nothing else."
)
_CHINESE = (
    "以下是你与{user}先前的一段对话：\n\n{talk}\n\n"
    "请以{char}的身份，用第一人称写下你记得的内容，不超过九十字：人名、地点、约定、{user}告诉你的事、你的感受。"
    "只写说过的话，不要写别的。"
)
_FRAMES = {"zh": "你记得先前的事：{}"}
_FRAME = "What you remember of earlier: {}"


def due_turns(prompting: Prompting, path: Sequence[Node], max_tokens: int) -> list[Turn]:
    """The turns that the next fold will take and no summary covers yet; empty while a fold is far away."""
    context = prompting.backend.context_tokens
    if not context or not prompting.memory:
        return []
    messages = [*prompting.opening(), *(m for t in turns_of(prompting.visible(path), "") for m in t.messages)]
    limit = context - memory.reserve_tokens(max_tokens, context)
    if sum(prompting.backend.count_tokens(messages)) < _DUE_SHARE * limit:
        return []
    covered = max((summary.last_node for summary in prompting.state.summaries), default=0)
    visible = [node for node in prompting.visible(path) if node.id > covered]
    turns = [turn for turn in turns_of(visible, "") if not turn.pinned][:-2]
    stretch: list[Turn] = []
    for turn in turns:
        stretch.append(turn)
        if (
            sum(prompting.backend.count_tokens([m for t in stretch for m in t.messages])) * _STRETCH_SHARE
            >= context
        ):
            return stretch
    return []


async def reflect(
    prompting: Prompting, role: Role, path: Sequence[Node], max_tokens: int, request: Request
) -> Summary | None:
    """Sum up what is due and keep it with the chat; None when nothing was due, or it was cancelled."""
    turns = due_turns(prompting, path, max_tokens)
    summary = await summarise(prompting, role, prompting.staging.user, turns, request) if turns else None
    if summary is not None:
        state = prompting.state
        prompting.set_state(replace(state, summaries=(*state.summaries, summary)))
    return summary


async def summarise(
    prompting: Prompting, role: Role, user: str, turns: Sequence[Turn], request: Request
) -> Summary | None:
    """What the role remembers of these turns, written by the model itself; None when it was cancelled or is empty.

    request gives the cancel flag. Raises RolekitError where no reply can be made.
    """
    nodes = [node for turn in turns for node in turn.nodes]
    names = {"user": user, "assistant": role.name}
    talk = "\n".join(
        f"{node.name or names.get(node.speaker, '')}: {' '.join(node.text.split())}" for node in nodes
    )
    zh = role.language.startswith("zh")
    ask = (_CHINESE if zh else _ENGLISH).format(user=user, char=role.name, talk=talk)
    block = [message for message in prompting.opening() if message.block == "role"]
    asked = replace(
        request,
        messages=(*block, Message("user", ask)),
        sampling=Sampling(temperature=0.3, repeat_penalty=1.1),
        seed=1,
        max_tokens=_MOST_TOKENS,
        conversation="",
    )
    reply: Reply | None = None
    async with aclosing(prompting.backend.stream(asked)) as events:
        async for event in events:
            if isinstance(event, Reply):
                reply = event
    text = " ".join(reply.text.split()) if reply else ""
    if reply is None or reply.stop_reason == "cancelled" or not text:
        return None
    frame = _FRAMES.get(role.language.split("-")[0], _FRAME)
    return Summary(frame.format(text), nodes[0].id, nodes[-1].id, prompting.backend.label)
