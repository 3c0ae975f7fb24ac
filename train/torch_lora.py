"""LoRA with peft: stock configuration and stock folders, on parameters that lie in one flat fp32 buffer."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rolekit.errors import RolekitError
from rolekit.text import one_line
from rolekit.train.recipe import Lora

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER = "default"


@dataclass(slots=True)
class Flat:
    """All trained numbers as one fp32 vector, with their gradient; the modules' parameters are views into it."""

    names: list[str]
    values: torch.Tensor
    gradient: torch.Tensor


def add_lora(model: PreTrainedModel, lora: Lora, seed: int, base_name: str) -> PeftModel:
    """The model with a fresh adapter: A uniform within ±1/sqrt(in), B zero; the same for every dtype of the base.

    base_name is what the adapter's configuration calls its base. Raises RolekitError for modules that do not exist.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        target_modules=_targets(model, lora),
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        layers_to_transform=list(lora.layers_to_transform) or None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft asks transformers for what transformers has renamed
            wrapped: PeftModel = get_peft_model(model, config)
    except ValueError as error:
        raise RolekitError(
            f"The adapter does not fit this base ({one_line(str(error), 200)}).",
            "Check lora.target_modules and the patterns in the recipe.",
        ) from error
    wrapped.peft_config[ADAPTER].base_model_name_or_path = base_name
    _initialize(wrapped, seed)
    return wrapped


def _targets(model: PreTrainedModel, lora: Lora) -> str | list[str]:
    """What peft is told to adapt. Raises RolekitError for modules that the base does not have."""
    head = model.get_output_embeddings()
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
    )
    if lora.target_modules == "all-linear":
        # peft takes "all-linear" for a pattern where only some layers are adapted, and refuses it.
        return linear if lora.layers_to_transform else "all-linear"
    for target in lora.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules()):
            raise RolekitError(
                f"The base has no layer that lora.target_modules = {target!r} names.",
                f"It has {one_line(', '.join(linear), 300)}.",
            )
    return list(lora.target_modules)


def _initialize(model: PeftModel, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trained(model):
            parameter.data = parameter.data.float()
            if ".lora_A." in name:
                bound = 1.0 / math.sqrt(parameter.shape[1])
                parameter.uniform_(-bound, bound, generator=chance)


def trained(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """The adapter's parameters with their names, always in the same order."""
    return sorted(
        (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    )


def flatten(model: torch.nn.Module, device: torch.device) -> Flat:
    """Put all adapter parameters and their gradients into one buffer each."""
    parameters = trained(model)
    total = sum(parameter.numel() for _, parameter in parameters)
    values = torch.zeros(total, device=device)
    gradient = torch.zeros(total, device=device)
    at = 0
    for _, parameter in parameters:
        size = parameter.numel()
        view = values[at : at + size].view(parameter.shape)
        view.copy_(parameter.data)
        parameter.data = view
        parameter.grad = gradient[at : at + size].view(parameter.shape)
        at += size
    return Flat([name for name, _ in parameters], values, gradient)


def save_peft(model: PeftModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors as peft does, without the base's embeddings."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    # Not the model's own state_dict(): in one of several processes it would put spread weights out of step.
    tensors = get_peft_model_state_dict(model, state_dict=dict(trained(model)), save_embedding_layers=False)
    plain = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in sorted(tensors.items())
    }
    save_file(plain, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    config = model.peft_config[ADAPTER]
    training, config.inference_mode = config.inference_mode, True
    config.save_pretrained(str(folder))
    config.inference_mode = training


@dataclass(slots=True)
class Part:
    """One linear layer: frozen weight [out, in], and its adapter if it has one."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    a: torch.nn.Parameter | None
    b: torch.nn.Parameter | None
    scale: float

    @property
    def rank(self) -> int:
        """The adapter's rank, 0 without one."""
        return 0 if self.a is None else int(self.a.shape[0])


def part_of(module: Any) -> Part:
    """The linear layer that a (peft-wrapped or plain) module is."""
    base = getattr(module, "base_layer", module)
    if module is base or ADAPTER not in module.lora_A:
        return Part(base.weight, base.bias, None, None, 0.0)
    return Part(
        base.weight, base.bias, module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight,
        float(module.scaling[ADAPTER]),
    )  # fmt: skip
