"""The people a user can be: personas.toml, a name and a description each."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rolekit.chat.state import Persona
from rolekit.errors import RolekitError
from rolekit.paths import home, write_text
from rolekit.text import one_line

_EXAMPLE = '[[personas]]\\nname = "Mary"\\ndescription = "{{user}} is a doctor home from the war."'


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80)
    description: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    personas: tuple[_Row, ...] = ()


def personas_file() -> Path:
    """Where the user's personas are written down."""
    return home() / "personas.toml"


def load_personas() -> tuple[Persona, ...]:
    """All personas, in the file's order; none where there is no file. Raises RolekitError naming every fault."""
    path = personas_file()
    try:
        rows = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).personas
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RolekitError(
            f"{path} cannot be read ({one_line(str(error), 120)}).", "Correct or remove it."
        ) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RolekitError(
            f"{path} has faults: {one_line(faults, 300)}.", f"A persona is: {_EXAMPLE}"
        ) from error
    return tuple(Persona(row.name, row.description) for row in rows)


def find_persona(name: str) -> Persona:
    """The persona of that name, in any case. Raises RolekitError that lists them where there is none."""
    personas = load_personas()
    wanted = name.strip().casefold()
    exact = [persona for persona in personas if persona.name.casefold() == wanted]
    found = exact or [persona for persona in personas if persona.name.casefold().startswith(wanted)]
    if len(found) == 1 or exact:
        return found[0]
    known = ", ".join(one_line(persona.name) for persona in personas)
    raise RolekitError(
        f"No persona is called {one_line(name, 60)}.",
        f"There are: {known}." if known else f"Write one into {personas_file()}: {_EXAMPLE}",
    )


def save_persona(persona: Persona) -> None:
    """Add a persona to personas.toml; what stands in the file stays. Raises RolekitError when it cannot be kept."""
    name, description = one_line(persona.name, 80).strip(), persona.description.strip()
    if not name:
        raise RolekitError("A persona needs a name.", "Type one.")
    if any(known.name.casefold() == name.casefold() for known in load_personas()):
        raise RolekitError(
            f"There is a persona called {one_line(name)} already.", f"Change it in {personas_file()}."
        )
    import tomlkit
    from tomlkit.items import AoT

    path = personas_file()
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    rows = document.get("personas")
    table = tomlkit.table() if rows is None or isinstance(rows, AoT) else tomlkit.inline_table()
    table.add("name", name)
    if description:
        table.add("description", description)
    if rows is None:
        document.add("personas", rows := tomlkit.aot())
    rows.append(table)
    write_text(path, tomlkit.dumps(document))
