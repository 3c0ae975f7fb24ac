"""Recipe files: strict TOML, `--set a.b=value` on top, every fault named at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rolekit.errors import RolekitError
from rolekit.paths import expanded, write_text
from rolekit.roles.lines import Where, key_lines, line_of
from rolekit.text import one_line
from rolekit.train.recipe import Recipe

_MOST_BYTES = 1024 * 1024
_MOST_SHOWN = 20
_MEANING = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text in quotes",
    "string_too_short": "is empty",
    "tuple_type": 'must be a list, such as ["first", "second"]',
    "dict_type": "must be a table, such as {general = 1, role_specific = 1}",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "finite_number": "must be a finite number",
    "missing": "is missing",
}
"""pydantic's words, in ours."""


_ELSEWHERE = {
    "rank": "lora.r", "lora_r": "lora.r", "lora_alpha": "lora.alpha", "lora_dropout": "lora.dropout",
    "use_rslora": "lora.rslora", "use_dora": "lora.dora", "learning_rate": "optimiser.lr",
    "lr_scheduler_type": "optimiser.schedule", "warmup_ratio": "optimiser.warmup", "max_grad_norm": "optimiser.clip",
    "num_train_epochs": "run.epochs", "max_steps": "run.steps", "early_stopping_patience": "run.patience",
    "batch_size": "batch.rows_per_step", "per_device_train_batch_size": "batch.rows_per_step",
    "gradient_accumulation_steps": "batch.rows_per_step", "packing": "batch.shared_prefix",
    "neftune_noise_alpha": "batch.neftune", "max_length": "max_tokens", "max_seq_length": "max_tokens",
    "gradient_checkpointing": "checkpointing", "model": "base", "model_name_or_path": "base", "optimizer": "optimiser",
}  # fmt: skip
"""What other trainers call our keys."""


def example_text() -> str:
    """A commented recipe with every key and its default, to copy and change."""
    return resources.files("rolekit.train").joinpath("recipe.example.toml").read_text("utf-8")


def load_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, with each `a.b=value` of settings on top. Data paths become absolute.

    Raises RolekitError naming all faults with their lines, also when there is no such file.
    """
    text = _read(path)
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RolekitError(
            f"The recipe {path.name} is not TOML ({one_line(str(error), 160)}).",
            "Look for a missing quote, bracket or comma there; `rolekit train --example` prints a sound one.",
        ) from error
    given = _apply(values, settings)
    recipe = _validated(values, key_lines(text), given, path.name)
    return _at_home(recipe, path.absolute().parent, given)


def make_recipe(values: dict[str, Any], settings: Sequence[str] = ()) -> Recipe:
    """A recipe from nested values as a file would hold them, with settings on top; paths stay as they are.

    Raises RolekitError naming all faults.
    """
    given = _apply(values, settings)
    return _validated(values, {}, given, "command line")


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe (what differs from the defaults) so that load_recipe gives it back."""
    import tomlkit

    write_text(path, tomlkit.dumps(recipe.model_dump(mode="json", exclude_defaults=True)))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise RolekitError(f"{path} is too large for a recipe.", "Name the recipe's .toml file.")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, ValueError) else error.strerror
        raise RolekitError(
            f"The recipe {one_line(str(path), 200)} cannot be read ({reason}).",
            "Make one with `rolekit train --example > recipe.toml`.",
        ) from error


def _apply(values: dict[str, Any], settings: Sequence[str]) -> dict[Where, str]:
    """Put every setting into values; which places came from the command line, and as what text."""
    given: dict[Where, str] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        parts = tuple(part.strip() for part in name.split("."))
        if not equals or not all(parts):
            raise RolekitError(
                f"--set {one_line(setting)!r} is not of the form key=value.",
                "Write it like --set optimiser.lr=1e-4.",
            )
        table = values
        for part in parts[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise RolekitError(
                    f"--set {one_line(setting)!r}: {part} is no table.", "Set it as a whole, or another key."
                )
            table = inner
        table[parts[-1]] = _value(text.strip())
        given[parts] = setting
    return given


def _value(text: str) -> Any:
    """text as a TOML value, or as it is where it is none: `lr=1e-4`, `base=starter`, `roles=["Ada"]`."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _validated(
    values: dict[str, Any], lines: Mapping[Where, int], given: Mapping[Where, str], name: str
) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        faults = list(_faults(error.errors(include_url=False), lines, given, name))
        shown = [f"  {fault}" for fault in faults[:_MOST_SHOWN]]
        if len(faults) > _MOST_SHOWN:
            shown.append(f"  and {len(faults) - _MOST_SHOWN} more")
        number = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise RolekitError(
            "\n".join([f"The recipe has {number}:", *shown]),
            "\n`rolekit train --example` prints every key with its meaning.",
        ) from error


def _faults(
    errors: list[ErrorDetails], lines: Mapping[Where, int], given: Mapping[Where, str], name: str
) -> Iterator[str]:
    seen: set[Where] = set()
    for error in errors:
        where = _place(error["loc"])
        if where in seen:
            continue  # the other branch of a union says the same again
        seen.add(where)
        source = next((f"--set {text}" for place, text in given.items() if place == where[: len(place)]), "")
        place = one_line(source, 100) or (f"{one_line(name, 80)}:{line_of(lines, where)}" if lines else name)
        key = one_line(".".join(map(str, where)), 80)
        if error["type"] == "extra_forbidden":
            yield f"{place}: there is no key {key}. {_suggestion(where)}"
        else:
            what = _MEANING.get(error["type"]) or one_line(_lowered(error["msg"]), 160)
            yield f"{place}: {key} {what}." if key else f"{place}: {what}."


def _place(loc: tuple[str | int, ...]) -> Where:
    """A fault's place without the names of union branches that pydantic puts in."""
    return tuple(part for part in loc if isinstance(part, int) or not part.startswith(("tuple[", "literal[")))


def _lowered(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return f"has to be {message}" if message[:1] in "'gl" else message[:1].lower() + message[1:]


def _suggestion(where: Where) -> str:
    from rapidfuzz import fuzz, process

    key = str(where[-1])[:100]
    if ours := _ELSEWHERE.get(key.casefold()):
        return f"Did you mean {ours}?"
    known = list(_keys(where[:-1]))
    everywhere = {path[-1]: ".".join(path) for path in _all_keys(Recipe, ())}
    if best := process.extractOne(key.casefold(), known, scorer=fuzz.ratio, score_cutoff=65):
        return f"Did you mean {'.'.join(map(str, (*where[:-1], best[0])))}?"
    if best := process.extractOne(key.casefold(), list(everywhere), scorer=fuzz.ratio, score_cutoff=75):
        return f"Did you mean {everywhere[best[0]]}?"
    return f"Known keys here: {', '.join(known)}."


def _keys(where: Where) -> Mapping[str, object]:
    """The keys of the table at a place."""
    model: type[BaseModel] = Recipe
    for part in where:
        inner = _model(model.model_fields[part].annotation) if part in model.model_fields else None
        model = inner or model
    return model.model_fields


def _model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model(inner))), None)


def _all_keys(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        if (inner := _model(field.annotation)) is not None:
            yield from _all_keys(inner, (*prefix, name))


def _at_home(recipe: Recipe, folder: Path, given: Mapping[Where, str]) -> Recipe:
    """The recipe with its files' paths absolute: those of the file relative to folder, typed ones to here."""

    def placed(text: str, *where: str | int) -> str:
        typed = any(place == where[: len(place)] for place in given)
        return str((Path.cwd() if typed else folder) / expanded(text))

    data = recipe.data
    sources = tuple(
        source.model_copy(update={"path": placed(source.path, "data", "sources", number)})
        for number, source in enumerate(data.sources)
    )
    bench = tuple(placed(path, "data", "bench", number) for number, path in enumerate(data.bench))
    update: dict[str, Any] = {"data": data.model_copy(update={"sources": sources, "bench": bench})}
    if (folder / recipe.base).exists() and "base" not in {place[0] for place in given}:
        update["base"] = str(folder / recipe.base)
    if recipe.template.endswith(".jinja") and ("template",) not in given:
        update["template"] = str(folder / expanded(recipe.template))
    return recipe.model_copy(update=update)
