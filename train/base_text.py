"""The words of a base model: its vocabulary and its chat template, without its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rolekit.engine.gguf_header import read_header
from rolekit.engine.prompt import Prompter
from rolekit.engine.prompt_vocabulary import PromptVocabulary
from rolekit.engine.templates import ChatTemplate, load_template, named_template, template_names
from rolekit.errors import RolekitError
from rolekit.text import one_line
from rolekit.train.hf_vocabulary import HfVocabulary, read_json
from rolekit.train.rows import RowMaker


@dataclass(frozen=True, slots=True)
class BaseText:
    """What turns messages into a base's token ids: the chat engine's prompter over the base's own vocabulary."""

    vocabulary: PromptVocabulary
    template: ChatTemplate
    prompter: Prompter
    maker: RowMaker
    vocabulary_key: str
    """Token ids are exchangeable between bases with the same key."""


@contextmanager
def open_base_text(path: Path, template: str = "") -> Iterator[BaseText]:
    """The words of the base at path, a .gguf file or a Hugging Face folder; valid inside the block.

    template names another chat template than its own, or a .jinja file.
    Raises RolekitError when the base has no template and none was named, or its tokenizer cannot be read.
    """
    if path.is_dir():
        folder_vocabulary = HfVocabulary(path)
        chosen = named_template(template) if template else folder_template(path)
        yield _base_text(folder_vocabulary, chosen, folder_vocabulary.key)
        return
    from rolekit.engine.vocabulary import open_vocabulary

    header = read_header(path)
    if not template and not header.text("tokenizer.chat_template").strip():
        raise no_template(path)
    with open_vocabulary(path) as vocabulary:
        yield _base_text(vocabulary, load_template(template or None, header), vocabulary.key)


def _base_text(vocabulary: PromptVocabulary, template: ChatTemplate, key: str) -> BaseText:
    prompter = Prompter(template, vocabulary)
    return BaseText(vocabulary, template, prompter, RowMaker(prompter, vocabulary), key)


def folder_template(folder: Path) -> ChatTemplate:
    """The chat template that a Hugging Face folder carries. Raises RolekitError when it carries none."""
    try:
        source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except FileNotFoundError:
        source = ""
    except (OSError, UnicodeDecodeError) as error:
        raise RolekitError(
            f"The chat template of {one_line(str(folder), 200)} cannot be read ({error}).",
            "Mend chat_template.jinja, or name a template with --set template=NAME.",
        ) from error
    if not source.strip():
        source = _configured(folder)
    if not source.strip():
        raise no_template(folder)
    return ChatTemplate(source, folder.name)


def _configured(folder: Path) -> str:
    """tokenizer_config.json's template: a text, or a list of named ones of which `default` is meant."""
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = read_json(folder / name).get("chat_template")
        if isinstance(template, list):
            named = {
                str(item.get("name")): item.get("template") for item in template if isinstance(item, dict)
            }
            template = named.get("default") or next(iter(named.values()), "")
        if isinstance(template, str) and template.strip():
            return template
    return ""


def no_template(path: Path) -> RolekitError:
    """The error for a base that carries no chat template."""
    return RolekitError(
        f"{one_line(path.name, 80)} carries no chat template: it is a base model, or its maker left it out.",
        f"Name one with --set template=NAME: rocit (the paper's markup) for base models, else the one it was "
        f"tuned with ({', '.join(template_names())}), or a .jinja file.",
    )
