"""What tokens cost: a table that comes with rolekit, and the user's own, which wins."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.calls import Call, Usage
from rolekit.endpoints.tokens import most_tokens
from rolekit.errors import RolekitError
from rolekit.paths import home

_MILLION = 1_000_000
_UNLIMITED_TOKENS = 16_384
"""What a call without max_tokens is reckoned with."""


class Price(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached_input: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    def cost(self, usage: Usage) -> float:
        """What these tokens cost, in US dollars."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cheap = self.input if self.cached_input is None else self.cached_input
        fresh = usage.prompt_tokens - cached
        return (fresh * self.input + cached * cheap + usage.completion_tokens * self.output) / _MILLION

    def most(self, call: Call) -> float:
        """What the call can cost at most: every byte of the prompt a token, the answer as long as it may be."""
        return self.cost(Usage(most_tokens(call.messages), call.max_tokens or _UNLIMITED_TOKENS))


FREE = Price(input=0, output=0)


def price_file() -> Path:
    """The user's own table."""
    return home() / "prices.toml"


def price_of(endpoint: Endpoint) -> Price | None:
    """The price of a model there, or None where nobody has written it down; a server on this machine is free.

    `host/model` is looked up before `model`, the user's table before rolekit's; a dated name (gpt-4o-2024-08-06)
    costs what the name without the date does. Raises RolekitError naming every fault of the user's table.
    """
    own, bundled = _read(price_file()), _read(Path(__file__).with_name("prices.toml"))
    model = endpoint.model
    names = [model, model[:-11]] if model[-11:-6].startswith("-20") else [model]
    for table in (own, bundled):
        for name in names:
            for key in (f"{endpoint.host}/{name}", name):
                if key in table:
                    return table[key]
    return FREE if endpoint.on_this_machine else None


def needed_price(endpoint: Endpoint) -> Price:
    """The price of a model there. Raises RolekitError that shows how to write it down where it is unknown."""
    price = price_of(endpoint)
    if price is None:
        raise RolekitError(
            f"The price of {endpoint.model} at {endpoint.host} is not known, so no budget can be kept.",
            f"Add it to {price_file()}:\n"
            f'  ["{endpoint.host}/{endpoint.model}"]\n  input = 0.0   # US dollars for a million tokens\n  output = 0.0',
        )
    return price


def _read(path: Path) -> dict[str, Price]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Price]).validate_python(values)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        faults = str(error)
    raise RolekitError(
        f"The price table {path} has faults: {faults}.",
        'Each model is written as ["NAME"] with input and output in US dollars for a million tokens.',
    )
