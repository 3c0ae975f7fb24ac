"""A base model for torch: a Hugging Face folder or a GGUF, weights only, no code of strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.errors import RolekitError
from rolekit.text import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_base(path: Path, dtype: torch.dtype | None, *, nf4: torch.dtype | None = None) -> PreTrainedModel:
    """The model at path, a .gguf file or a Hugging Face folder, with weights of dtype, frozen, on the CPU.

    Without a dtype weights take 16 bits: bfloat16 where that is how they were published, else float16, which is
    eight times finer, or bfloat16 after all where a weight is too large for it. nf4, the dtype to compute in, keeps the linear layers in 4 bits (bitsandbytes), for folders only.
    Raises RolekitError for pickled weights, models that need their own code, a GGUF of an architecture that
    transformers cannot read, and damaged files.
    """
    import torch

    if nf4 and path.is_file():
        raise RolekitError(
            f"{path.name} is a GGUF, whose weights cannot be put into 4 bits again.",
            'Name the model\'s Hugging Face folder, or set lora.quantize = "none".',
        )
    with _quiet(), _plain_errors(path):
        first = dtype or (torch.float16 if path.is_file() or not _is_bf16(path) else torch.bfloat16)
        model = _load(path, first, nf4)
        if dtype is None and first == torch.float16 and _overflows(model):
            model = _load(path, torch.bfloat16, nf4)
    model.config.use_cache = False
    model.requires_grad_(False)
    return model.eval()


def _load(path: Path, dtype: torch.dtype, nf4: torch.dtype | None) -> PreTrainedModel:
    return _from_gguf(path, dtype) if path.is_file() else _from_folder(path, dtype, nf4)


def _is_bf16(folder: Path) -> bool:
    check_folder(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "bfloat16" in (config.get("dtype"), config.get("torch_dtype"))


def _overflows(model: PreTrainedModel) -> bool:
    return not all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def _attention(config: Any) -> str:
    """sdpa, but for families whose attention scores are capped, which sdpa cannot do."""
    return "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"


def _from_gguf(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Tensor by tensor where the layout is known here, so that only the 16-bit model is in memory."""
    from rolekit.engine.gguf_header import read_header
    from rolekit.train.gguf_folder import settings_of, tensors_of

    header = read_header(path)
    try:
        config = settings_of(header)
    except RolekitError:
        return _gguf_through_transformers(path, dtype)
    tensors = dict(tensors_of(path, header, config))
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    model = _empty_model(config, dtype)
    for name, pending in tensors.items():
        module, _, attribute = name.rpartition(".")
        values = torch_values(pending.make().float32().values, dtype)
        setattr(model.get_submodule(module), attribute, values)
    model.tie_weights()
    return model


def torch_values(values: Any, dtype: torch.dtype) -> torch.nn.Parameter:
    """A frozen parameter of dtype from fp32 numbers."""
    import torch

    numbers = values.astype("f4", copy=not values.flags.writeable)  # torch must not write into a mapped file
    return torch.nn.Parameter(torch.from_numpy(numbers).to(dtype), requires_grad=False)


def _empty_model(settings: dict[str, Any], dtype: torch.dtype) -> PreTrainedModel:
    """A model without weights, but with the tables that transformers computes itself."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**{key: value for key, value in settings.items() if key != "torch_dtype"})
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, attn_implementation="sdpa", dtype=dtype
        )
    rotary: Any = type(model.model.rotary_emb)
    model.model.rotary_emb = rotary(config=config)
    return model


def _gguf_through_transformers(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True)
    with _without_bar():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=dtype, attn_implementation=_attention(config),
            local_files_only=True,
        )  # fmt: skip
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are plain numbers now, whatever the file had
    model.hf_quantizer = None
    return model


@contextmanager
def _without_bar() -> Iterator[None]:
    """transformers draws a bar while it reads a GGUF file, which no setting of its own hides."""
    from transformers import modeling_gguf_pytorch_utils

    reading: Any = modeling_gguf_pytorch_utils
    bar = reading.tqdm
    reading.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        reading.tqdm = bar


def _from_folder(path: Path, dtype: torch.dtype, nf4: torch.dtype | None) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    check_folder(path)
    config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    more: dict[str, Any] = {"quantization_config": _nf4_config(nf4)} if nf4 else {}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(path), dtype=dtype, attn_implementation=_attention(config), use_safetensors=True, trust_remote_code=False,
        local_files_only=True, **more,
    )  # fmt: skip
    return model


def check_folder(path: Path) -> None:
    """Raises RolekitError unless path is a folder with a configuration and safetensors weights, and no own code."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RolekitError(
            f"{path} has no config.json that can be read ({error}).",
            "Name a Hugging Face folder or a .gguf file.",
        ) from error
    if not any(path.glob("*.safetensors")):
        pickled = any(path.glob("*.bin")) or any(path.glob("*.pt*"))
        reason = "only pickled ones, which can run code of their maker" if pickled else "none at all"
        raise RolekitError(
            f"{path} has no weights in the safetensors format ({reason}).",
            "Fetch the repository's *.safetensors files, or convert them with transformers' save_pretrained.",
        )
    if config.get("auto_map") and not _native(str(config.get("model_type", ""))):
        raise RolekitError(
            f"{path} is a model that brings its own Python code ({one_line(str(config.get('model_type')))}), "
            "which rolekit does not run.",
            "Use the version of the model that transformers knows (often called -hf).",
        )


def _native(model_type: str) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _nf4_config(dtype: torch.dtype) -> Any:
    """bitsandbytes' configuration. Raises RolekitError where it does not work, after a real try."""
    try:
        import bitsandbytes
        import torch
        from transformers import BitsAndBytesConfig

        layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        layer = layer.to("cuda" if torch.cuda.is_available() else "cpu")
        probe = torch.ones(1, 64, device=layer.weight.device, requires_grad=True)
        layer(probe).sum().backward()
    except (ImportError, RuntimeError, NotImplementedError, AttributeError, OSError) as error:
        raise RolekitError(
            f"4-bit weights (QLoRA) do not work on this machine ({one_line(str(error), 120)}).",
            'Install bitsandbytes for this machine, or set lora.quantize = "none".',
        ) from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own progress bars and advice, which are about things the user did not ask."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise RolekitError(
            f"{path.name} could not be read as a model to train on ({one_line(str(error), 200)}).",
            "Name a whole Hugging Face folder with *.safetensors, or a GGUF of llama, mistral, qwen2, qwen3, "
            "gemma2, gemma3 or phi3.",
        ) from error
