"""ChatGLM 2 and 3 keep their special tokens in code; here they are, behind the SentencePiece vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from rolekit.convert.model_folder import ModelFolder
from rolekit.convert.vocabulary.sentencepiece_model import read_sentencepiece
from rolekit.convert.vocabulary.tokenizer_json import AddedToken

_SECOND = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
_THIRD = (*_SECOND, "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


def added_tokens(folder: ModelFolder, known: Sequence[AddedToken]) -> tuple[AddedToken, ...]:
    """The special tokens with their ids; ChatGLM 3 is told by its roles, in its configuration or its code."""
    path = folder.file("tokenizer.model")
    if path is None:
        return tuple(known)
    first = len(read_sentencepiece(path).pieces)
    code = folder.file("tokenization_chatglm.py")
    third = any(token.text == "<|user|>" for token in known)
    third = third or (code is not None and b"<|user|>" in code.read_bytes())
    texts = _THIRD if third else _SECOND
    return tuple(AddedToken(first + place, text, special=True) for place, text in enumerate(texts))
