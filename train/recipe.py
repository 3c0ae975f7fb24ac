"""A recipe: everything that decides a training run, as a person writes it down."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rolekit.train.examples import Kind

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Backend = Literal["auto", "torch", "mlx"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Part):
    """One file of rows: RoleBench records, Context-Instruct or RoleGPT output, or chat-format JSON Lines."""

    path: str = Field(min_length=1)
    """A .jsonl file; in a recipe file relative to that file."""
    weight: float = Field(default=1.0, gt=0, le=100)
    """How often each row is seen an epoch; 0.5 takes a stable half of them."""
    kind: Literal["auto", "role_specific", "general", "refusal", "unknown"] = "auto"
    """What its rows teach; auto reads it from the rows or the file's place, else role_specific."""
    role: str = ""
    """Whose rows these are where the file does not say."""


class Data(_Part):
    """Where the rows come from, and how they are mixed."""

    sources: tuple[Source, ...] = ()
    mix: dict[Kind, Annotated[float, Field(ge=0)]] = {}
    """Shares of the kinds, such as {general = 1, role_specific = 1}; empty takes every row as it comes."""
    rows: int = Field(default=0, ge=0)
    """How many rows to train on; 0 means as many as the mix allows without seeing one twice an epoch."""
    eval_fraction: float = Field(default=0.05, ge=0, lt=1)
    """This share of the questions (not rows) is held out, with all roles' answers to them."""
    eval_rows: int = Field(default=200, ge=0)
    """At most so many held-out rows are scored, chosen by hash; 0 means all."""
    references: Literal["first", "all"] = "first"
    """Where a record has several answers: train on the first, or on each as a row of its own."""
    bench: tuple[str, ...] = ()
    """Files of the benchmark subset this adapter will be scored on: their questions must not be trained on."""
    allow_leaks: bool = False
    """Train in spite of questions that are in bench too; otherwise that is an error."""


class Lora(_Part):
    """The adapter; names and meaning are PEFT's."""

    r: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rslora: bool = False
    """Scale by alpha / sqrt(r) instead of alpha / r."""
    dora: bool = False
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Every linear layer but the output head, or the names of some, such as ["q_proj", "v_proj"]."""
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=1024)]] = {}
    """Other ranks for the modules that a pattern names."""
    alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = {}
    layers_to_transform: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Only these layers, counted from 0; empty means all."""
    quantize: Literal["none", "nf4"] = "none"
    """QLoRA: keep the frozen weights in 4 bits (bitsandbytes)."""


class Optimiser(_Part):
    """AdamW and its schedule."""

    lr: float = Field(default=1e-3, gt=0, le=1)
    """The default suits the starter (tests/benchmarks/rocit.md); bases from about 1B parameters on want 2e-4."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.05
    """Share of all steps over which the learning rate rises from 0."""
    final_lr: Share = 0.1
    """Where cosine and linear end, as a share of lr."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 clips nothing."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)


class Batch(_Part):
    """What one optimiser step sees. However it is cut into passes, the loss is the mean over its tokens."""

    rows_per_step: int = Field(default=16, ge=1)
    tokens_per_step: int = Field(default=0, ge=0)
    """Fill a step with rows up to this many row tokens instead of counting rows; 0 counts rows."""
    pack_tokens: int = Field(default=0, ge=0)
    """Longest pack that goes through the model at once (the micro-batch), in tokens; 0 means by memory."""
    shared_prefix: bool = True
    """Compute a role's block once a pack. The loss is the same to rounding; False is for comparisons."""
    neftune: float = Field(default=0.0, ge=0)
    """NEFTune's noise alpha on the embeddings; 0 adds none."""


class Run(_Part):
    """How long it goes on, and what is written down on the way."""

    epochs: float = Field(default=2.0, gt=0, le=1000)
    steps: int = Field(default=0, ge=0)
    """Stop after this many optimiser steps; 0 means after the epochs."""
    eval_every: int = Field(default=0, ge=0)
    """Steps between held-out losses; 0 means four times an epoch."""
    save_every: int = Field(default=0, ge=0)
    """Steps between checkpoints; 0 means as often as costs under a hundredth of the time."""
    keep_checkpoints: int = Field(default=2, ge=1)
    patience: int = Field(default=0, ge=0)
    """Stop when the held-out loss has not improved for so many evaluations; 0 never stops early."""
    best: bool = True
    """Keep the adapter of the lowest held-out loss; False keeps the last one."""
    sample_every: int = Field(default=0, ge=0)
    """Steps between sample answers; 0 means with every held-out loss."""
    sample_question: str = "Who are you, and what do you care about?"
    """Asked again and again, so that one sees the voice arrive; empty asks nothing."""
    sample_tokens: int = Field(default=64, ge=1, le=1024)


class Recipe(_Part):
    """Everything that decides a training run; two runs of one recipe on one machine give the same bytes."""

    base: str = "starter"
    """A Hugging Face folder, hf:owner/repo, a .gguf or starter."""
    roles: tuple[str, ...] = ()
    """Train on these roles' rows only; empty takes every role in the data."""
    template: str = ""
    """A named chat template or a .jinja file; empty means the base's own."""
    condition: Literal["system", "retrieval"] = "system"
    """Who the role is, told by a system instruction, or by retrieved example dialogues (the paper's ablation)."""
    opening: Literal["block", "chat"] = "block"
    """block: the role block alone, as RoCIT has it; chat: with the role's examples and greeting, as a chat begins."""
    user: str = "You"
    """The name that the role block calls the user by."""
    max_tokens: int = Field(default=2048, ge=16)
    """Longest row; a longer one is left out and counted."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    backend: Backend = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What the frozen weights compute in; auto asks the processor."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Recompute activations to save memory; auto only where it would not fit otherwise."""
    data: Data = Data()
    lora: Lora = Lora()
    optimiser: Optimiser = Optimiser()
    batch: Batch = Batch()
    run: Run = Run()

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Recipe:
        if self.data.mix and not any(self.data.mix.values()):
            raise ValueError("data.mix gives every kind a share of 0")
        return self

    @property
    def hash(self) -> str:
        """A fingerprint of what decides the result; where files lie, and how often progress is shown, do not."""
        values = self.model_dump(mode="json")
        for source in values["data"]["sources"]:
            source["path"] = Path(source["path"]).name
        values["data"]["bench"] = [Path(path).name for path in values["data"]["bench"]]
        for key in ("save_every", "keep_checkpoints", "sample_every", "sample_question", "sample_tokens"):
            del values["run"][key]
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
