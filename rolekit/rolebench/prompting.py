"""The messages that ask a question: RoleGPT's three ways of prompting, and the paper's ablation of the customising.

Source: arXiv 2310.00746, RoleGPT (zero-shot, few-shot prompt, few-shot dialogue engineering) and the comparison of
system instruction against retrieval augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rolekit.messages import Message
from rolekit.rolebench.casting import Cast
from rolekit.rolebench.retrieval import Pair
from rolekit.roles.block import role_block

Prompting = Literal["zero-shot", "few-shot-prompt", "few-shot-dialogue"]
Customise = Literal["system", "retrieval", "none"]
PROMPTINGS: tuple[Prompting, ...] = ("zero-shot", "few-shot-prompt", "few-shot-dialogue")
CUSTOMISES: tuple[Customise, ...] = ("system", "retrieval", "none")
VERSION = "1"
"""Raised whenever the wording below changes: answers to another wording are other answers."""


def needs_pairs(prompting: Prompting, customise: Customise) -> bool:
    """Whether the condition shows the model what the role said before."""
    return customise != "none" and (prompting != "zero-shot" or customise == "retrieval")


def messages_for(
    cast: Cast, question: str, pairs: Sequence[Pair], prompting: Prompting, customise: Customise
) -> tuple[Message, ...]:
    """The prompt of one question. Everything that depends on the role alone stands first, so it is read once.

    customise: system is the role's description as the system instruction; retrieval only names the role and lets
    the pairs speak; none asks the bare question. The pairs come as turns, but for few-shot-prompt, which writes them
    into the question's own message.
    """
    if customise == "none":
        return (Message("user", question),)
    chinese = cast.role.language.split("-")[0] == "zh"
    if customise == "system":
        system = role_block(cast.role, "")
    else:
        system = (_NAMED_ZH if chinese else _NAMED).format(name=cast.role.name)
    messages = [Message("system", system, "role")]
    if prompting == "few-shot-prompt" and pairs:
        question = _in_one_prompt(cast.role.name, question, pairs, chinese)
    elif needs_pairs(prompting, customise):
        for pair in pairs:
            messages += [Message("user", pair.user), Message("assistant", pair.reply)]
    return (*messages, Message("user", question))


_NAMED = "Please speak like {name}. Answer as {name} would, in {name}'s own words."
_NAMED_ZH = "请像{name}一样说话，用{name}自己的口吻回答。"


def _in_one_prompt(name: str, question: str, pairs: Sequence[Pair], chinese: bool) -> str:
    shown = "\n\n".join(f"Q: {pair.user}\nA: {pair.reply}" for pair in pairs)
    if chinese:
        return f"下面是{name}说话的例子：\n\n{shown}\n\n请用同样的口吻回答：\n{question}"
    return f"This is how {name} talks:\n\n{shown}\n\nAnswer in the same voice:\n{question}"
