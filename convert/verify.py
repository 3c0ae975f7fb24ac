"""The proof: a GGUF file against what it was made of, on role conversations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rolekit.convert.conversations import Conversation
from rolekit.convert.limits import limits_of
from rolekit.convert.logits import Evaluator
from rolekit.convert.measuring import Text, checks_of, measure
from rolekit.convert.proof import Check, Proof
from rolekit.convert.reference import Reference
from rolekit.convert.wording import (
    PROBES,
    HuggingFaceTokenizer,
    compare_ends,
    compare_prompts,
    compare_tokens,
)
from rolekit.engine.inspect import quantization
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.engine.vocabulary import Vocabulary
from rolekit.errors import RolekitError

CONTEXT_TOKENS = 1024
"""What is compared of a conversation, the continuation included; a longer prompt loses its beginning."""
DEFAULT_CONVERSATIONS, DEFAULT_TOKENS = 6, 24

OpenReference = Callable[[], Reference]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is to be proved."""

    path: Path
    adapters: tuple[tuple[Path, float], ...] = ()
    """GGUF adapters on top of it, with their scales."""
    type_name: str = ""
    """What it was quantized to; empty means: by its header."""


@dataclass(frozen=True, slots=True)
class Demands:
    """How much is looked at, and how closely."""

    conversations: Sequence[Conversation]
    tokens: int = DEFAULT_TOKENS
    """Length of the greedy continuation after each prompt."""
    mean_kl: float | None = None
    """The user's own limit in place of the type's."""
    chat_template: str = ""
    """The template that the source's tokenizer is to render with in place of its own."""
    adapter: Path | None = None
    """The folder of the adapter: a tokenizer that was saved beside it counts in place of the base's."""
    tokens_may_differ: bool = False
    """Report, but pass, texts and prompts that the file splits otherwise: the user has allowed it."""
    threads: int = 0


def verify(
    candidate: Candidate,
    source: Path | None,
    open_reference: OpenReference,
    demands: Demands,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Proof:
    """Compare candidate with its source: first what it reads and says in words, then its logits.

    source: the Hugging Face folder whose tokenizer and template count; None where the base is itself a GGUF.
    open_reference loads the model whose logits count; it is called last, and where it raises RolekitError the
    report says what was not verified. Raises RolekitError where the candidate itself cannot be loaded.
    """
    started = time.perf_counter()
    checks, unverified, notes = list[Check](), list[str](), list[str]()
    with Evaluator(
        candidate.path, candidate.adapters, context_tokens=CONTEXT_TOKENS, threads=demands.threads
    ) as model:
        prompter, reason = _prompter(model)
        ends = frozenset(token for token in range(model.vocabulary.size) if model.vocabulary.is_end(token))
        if source:
            words = _compare_words(source, model.vocabulary, prompter, demands, checks, unverified)
            if words and words.chat_template and not prompter:
                unverified.append(f"Prompts were not compared: {reason}")
            elif words and not words.chat_template:
                notes.append("The base has no chat template, so there were no prompts to compare.")
            ends |= words.ends if words else frozenset()
        label = ""
        if all(check.passed for check in checks):
            texts = _texts(demands, model.vocabulary, prompter)
            type_name = candidate.type_name or quantization(candidate.path, model.model.header)
            label = _compare_logits(
                model, texts, ends, type_name, open_reference, demands, progress, checks, unverified
            )
        else:
            unverified.append("Logits were not compared: what the models read differs.")
    return Proof(label, tuple(checks), tuple(unverified), tuple(notes), seconds=time.perf_counter() - started)


def _prompter(model: Evaluator) -> tuple[Prompter | None, str]:
    """What renders the file's prompts; where it has no template that does, why."""
    try:
        return Prompter(load_template(None, model.model.header), model.vocabulary), ""
    except RolekitError as error:
        return None, error.what_happened


def _compare_words(
    source: Path,
    vocabulary: Vocabulary,
    prompter: Prompter | None,
    demands: Demands,
    checks: list[Check],
    unverified: list[str],
) -> HuggingFaceTokenizer | None:
    """Add the checks of tokens, prompts and ends; the source's tokenizer, where it could be loaded."""
    try:
        tokenizer = HuggingFaceTokenizer(source, demands.chat_template, demands.adapter)
    except (RolekitError, ModuleNotFoundError) as error:
        unverified.append(f"Tokens and prompts were not compared: {_sentence(error)}")
        return None
    texts = [message.text for talk in demands.conversations for message in talk.messages]
    found = [compare_tokens(tokenizer, vocabulary, [*PROBES, *texts])]
    if prompter and tokenizer.chat_template:
        prompts = compare_prompts(tokenizer, vocabulary, prompter, demands.conversations)
        if prompts:
            found.append(prompts)
        else:
            unverified.append("Prompts were not compared: the base's chat template renders none of them.")
    if demands.tokens_may_differ:
        found = [replace(check, passed=True, limit="may differ") for check in found]
    checks += [*found, compare_ends(tokenizer, vocabulary)]
    return tokenizer


def _compare_logits(
    model: Evaluator,
    texts: Sequence[Text],
    ends: frozenset[int],
    type_name: str,
    open_reference: OpenReference,
    demands: Demands,
    progress: Callable[[str, int, int], None],
    checks: list[Check],
    unverified: list[str],
) -> str:
    """Add the checks of logits; what they were compared with, empty where that could not be loaded."""
    progress("loading the reference", 0, len(texts))
    try:
        reference = open_reference()
    except (RolekitError, ModuleNotFoundError) as error:
        unverified.append(f"Divergence, greedy agreement and ends were not measured: {_sentence(error)}")
        return ""
    try:
        measured = measure(reference, model, texts, tokens=demands.tokens, ends=ends, progress=progress)
    finally:
        reference.close()
    limits = limits_of(type_name, exact_reference="bf16" not in reference.label, mean_kl=demands.mean_kl)
    checks += checks_of(measured, limits)
    return reference.label


def _texts(demands: Demands, vocabulary: Vocabulary, prompter: Prompter | None) -> list[Text]:
    """The conversations in token ids, cut at both ends to what the context holds."""
    end = _end_token(vocabulary, prompter)
    most_reply = CONTEXT_TOKENS // 4
    texts = list[Text]()
    for talk in demands.conversations:
        reply = [*vocabulary.tokenize(talk.reply, special=False), *end]
        reply = reply if len(reply) <= most_reply else reply[:most_reply]
        room = CONTEXT_TOKENS - len(reply) - demands.tokens
        texts.append(Text(tuple(_prompt(talk, vocabulary, prompter)[-room:]), tuple(reply)))
    return texts


def _prompt(talk: Conversation, vocabulary: Vocabulary, prompter: Prompter | None) -> list[int]:
    if prompter:
        return list(prompter.build(talk.prompt).ids)
    head = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
    text = "\n\n".join(message.text for message in talk.prompt)
    return [*head, *vocabulary.tokenize(text, special=False, first=True)]


def _end_token(vocabulary: Vocabulary, prompter: Prompter | None) -> list[int]:
    """The token that the template writes behind a reply, else the vocabulary's own end."""
    for text in prompter.stop_texts if prompter else ():
        ids = vocabulary.tokenize(text, special=True)
        if len(ids) == 1 and vocabulary.is_end(ids[0]):
            return ids
    return [] if vocabulary.eos is None else [vocabulary.eos]


def _sentence(error: RolekitError | ModuleNotFoundError) -> str:
    if isinstance(error, RolekitError):
        return str(error)
    package = (error.name or "a package").partition(".")[0]
    return f"{package} is not installed; pip install 'rolekit[train]' brings it."
