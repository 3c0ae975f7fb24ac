"""The usual three steps from an adapter to a quantized GGUF, each a process of its own (bench_convert.py runs them).

python tests/benchmarks/peer_convert.py merge BASE ADAPTER MERGED
python tests/benchmarks/peer_convert.py convert SDIST MERGED OUT.gguf
python tests/benchmarks/peer_convert.py quantize IN.gguf OUT.gguf TYPE THREADS
"""

from __future__ import annotations

import sys
from pathlib import Path


def merge(base: str, adapter: str, merged: str) -> None:
    """peft's merge_and_unload, in the base's own type, saved as safetensors."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(merged)
    AutoTokenizer.from_pretrained(base).save_pretrained(merged)


def convert(sdist: str, merged: str, out: str) -> None:
    """llama.cpp's convert_hf_to_gguf.py with its own gguf package; an unknown tokenizer counts as GPT-2's."""
    import runpy

    source = Path(sdist) / "vendor" / "llama.cpp"
    sys.path[:0] = [str(source / "gguf-py"), str(source)]
    from conversion.base import TextModel

    known = TextModel.get_vocab_base_pre

    def pre_tokenizer(self: object, tokenizer: object) -> str:
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            return "gpt-2"

    TextModel.get_vocab_base_pre = pre_tokenizer
    sys.argv = ["convert_hf_to_gguf.py", merged, "--outfile", out, "--outtype", "bf16"]
    runpy.run_path(str(source / "convert_hf_to_gguf.py"), run_name="__main__")


def quantize(source: str, out: str, type_name: str, threads: str) -> None:
    """llama_model_quantize, what the llama-quantize tool calls."""
    import ctypes

    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = int(threads)
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{type_name}")
    status = llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params))
    sys.exit(int(status))


if __name__ == "__main__":
    {"merge": merge, "convert": convert, "quantize": quantize}[sys.argv[1]](*sys.argv[2:])
