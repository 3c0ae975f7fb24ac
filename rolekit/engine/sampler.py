"""How the next token is chosen: llama.cpp's own sampler chain, primed with the conversation."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import llama_cpp

from rolekit.engine.grammar import Grammar
from rolekit.engine.model import Model
from rolekit.messages import Sampling

_RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp draws a seed of its own for this one; we never do."""
_MIROSTAT_CANDIDATES = 100
_SHORTLIST = 128
"""Candidates that penalties and DRY look at where top-k keeps at most half of them anyway. Penalties only take
away, so a token outside could come in only if more than half of the list fell below it; looking at the whole
vocabulary instead costs several times the rest of the sampling (llama.h says so too)."""


_DryKey = tuple[float, float, int, int, tuple[str, ...]]


class Samplers:
    """Makes samplers for one model; keeps what is slow to make (DRY's breakers cost a pass over the vocabulary).

    make() may be called from several threads; a sampler belongs to one.
    """

    def __init__(self, model: Model) -> None:
        """Goes over the vocabulary once, for the tokens that end a reply."""
        self._model = model
        self._vocab = llama_cpp.llama_model_get_vocab(model.pointer)
        self._lock = threading.Lock()
        self._dry: dict[_DryKey, Any] = {}
        vocabulary = model.vocabulary
        self.ends = frozenset(token for token in range(vocabulary.size) if vocabulary.is_end(token))
        self._end_texts = tuple(vocabulary.text(token) for token in sorted(self.ends))

    def make(self, sampling: Sampling, seed: int, history: Sequence[int]) -> Sampler:
        """A sampler whose penalties and DRY already know history (only its last penalty_tokens matter).

        Raises RolekitError when the grammar cannot be parsed.
        """
        grammar = Grammar(self._vocab, sampling.grammar) if sampling.grammar else None
        chain = _Chain()
        chain.add(self._suppressed())
        if sampling.mirostat == 0 and _can_shortlist(sampling):
            chain.add(llama_cpp.llama_sampler_init_top_k(_SHORTLIST))
        latest = history[-sampling.penalty_tokens :] if sampling.penalty_tokens > 0 else ()
        # An end token is no word: a reply must not grow longer because earlier replies ended too.
        self._add_primed(
            chain, self._penalties(sampling), [token for token in latest if token not in self.ends]
        )
        self._add_primed(chain, self._dry_sampler(sampling), latest)
        seed = seed % _RANDOM_SEED
        if sampling.mirostat:
            self._add_mirostat(chain, sampling, seed)
        else:
            _add_truncation(chain, sampling, seed)
        return Sampler(chain.pointer, grammar, self._model.vocabulary.size)

    @staticmethod
    def _add_primed(chain: _Chain, sampler: Any, history: Sequence[int]) -> None:
        if sampler:
            accept = llama_cpp.llama_sampler_accept
            for token in history:
                accept(sampler, token)
            chain.add(sampler)

    def _suppressed(self) -> Any:
        """Tokens the model's maker never wants to see (a GGUF key); None where there are none."""
        count = ctypes.c_int32()
        tokens = llama_cpp.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(count))
        if not count.value:
            return None
        biases = (llama_cpp.llama_logit_bias * count.value)(
            *((tokens[index], float("-inf")) for index in range(count.value))
        )
        size = self._model.vocabulary.size
        return llama_cpp.llama_sampler_init_logit_bias(size, count.value, biases)

    def _penalties(self, sampling: Sampling) -> Any:
        neutral = (1.0, 0.0, 0.0)
        penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
        if penalties == neutral or sampling.penalty_tokens <= 0:
            return None
        size = self._model.vocabulary.size
        return llama_cpp.llama_sampler_init_penalties(size, sampling.penalty_tokens, *penalties)

    def _dry_sampler(self, sampling: Sampling) -> Any:
        if sampling.dry_multiplier <= 0 or sampling.dry_base < 1 or sampling.penalty_tokens <= 0:
            return None
        key = (
            sampling.dry_multiplier,
            sampling.dry_base,
            sampling.dry_allowed_length,
            sampling.penalty_tokens,
            sampling.dry_breakers,
        )
        with self._lock:
            return llama_cpp.llama_sampler_clone(self._dry_of(key))

    def _dry_of(self, key: _DryKey) -> Any:
        if key not in self._dry:
            # A breaker is never penalized itself, so with the end tokens among them a reply may always end.
            texts = [text.encode() for text in (*key[4], *self._end_texts) if text]
            breakers = (ctypes.c_char_p * len(texts))(*texts)
            self._dry[key] = llama_cpp.llama_sampler_init_dry(self._vocab, *key[:4], breakers, len(texts))
        return self._dry[key]

    def _add_mirostat(self, chain: _Chain, sampling: Sampling, seed: int) -> None:
        tau, eta = sampling.mirostat_tau, sampling.mirostat_eta
        chain.add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        if sampling.mirostat == 1:
            size = self._model.vocabulary.size
            chain.add(llama_cpp.llama_sampler_init_mirostat(size, seed, tau, eta, _MIROSTAT_CANDIDATES))
        else:
            chain.add(llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta))

    def close(self) -> None:
        """Free what was kept; samplers already made stay valid."""
        for sampler in self._dry.values():
            llama_cpp.llama_sampler_free(sampler)
        self._dry.clear()


class Sampler:
    """Chooses tokens one after another and remembers them for the penalties. Close it after the reply."""

    def __init__(self, chain: Any, grammar: Grammar | None, vocabulary_size: int) -> None:
        """chain: a llama_sampler pointer that this sampler frees; grammar: None where any text will do."""
        self._chain = chain
        self._grammar = grammar
        self._size = vocabulary_size

    def sample(self, context_pointer: Any, row: int = -1) -> int | None:
        """The next token after the given row of the last decode; None where the grammar allows none."""
        if self._grammar is not None:
            return self._grammar.sample(self._chain, context_pointer, row, self._size)
        token: int = llama_cpp.llama_sampler_sample(self._chain, context_pointer, row)
        return token

    def close(self) -> None:
        """Free the chain; closing twice is fine."""
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar is not None:
            self._grammar.close()


class _Chain:
    """A llama_sampler_chain under construction."""

    def __init__(self) -> None:
        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self.pointer: Any = llama_cpp.llama_sampler_chain_init(params)

    def add(self, sampler: Any) -> None:
        if sampler:
            llama_cpp.llama_sampler_chain_add(self.pointer, sampler)


def _can_shortlist(sampling: Sampling) -> bool:
    only_takes_away = (
        sampling.repeat_penalty >= 1 and sampling.frequency_penalty >= 0 and sampling.presence_penalty >= 0
    )
    narrow = sampling.temperature <= 0 or 0 < sampling.top_k <= _SHORTLIST // 2
    return only_takes_away and narrow


def _add_truncation(chain: _Chain, sampling: Sampling, seed: int) -> None:
    """The steps after the penalties, in the order of llama.cpp's own tools."""
    if sampling.temperature <= 0:
        chain.add(llama_cpp.llama_sampler_init_greedy())
        return
    if sampling.top_k > 0:
        chain.add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p < 1:
        chain.add(llama_cpp.llama_sampler_init_typical(sampling.typical_p, 1))
    if sampling.top_p < 1:
        chain.add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        chain.add(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    if sampling.xtc_probability > 0:
        chain.add(llama_cpp.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, 1, seed))
    chain.add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
    chain.add(llama_cpp.llama_sampler_init_dist(seed))
