"""YAML characters (text-generation-webui, SillyTavern): plain data only, no aliases that multiply."""

from __future__ import annotations

from typing import Any

from rolekit.errors import RolekitError
from rolekit.text import one_line, size

_MAX_BYTES = 1 << 20


def parse_card_yaml(data: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The mapping in data, and what had to be repaired.

    Raises RolekitError when it is too large, uses anchors (a few of them can fill any memory), or is no mapping.
    """
    import yaml

    advice = "Write the character as plain keys and texts, or as a role file (.toml)."
    if len(data) > _MAX_BYTES:
        raise RolekitError(f"The YAML has {size(len(data))}; {size(_MAX_BYTES)} is the limit.", advice)
    notices: tuple[str, ...] = ()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
        notices = ("The text is not UTF-8; it was read as Windows-1252.",)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise RolekitError("The YAML uses anchors, which a character does not need.", advice)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RolekitError(f"The card is not valid YAML ({one_line(str(error), 100)}).", advice) from error
    if not isinstance(value, dict):
        raise RolekitError("The YAML is not a mapping of keys to texts.", advice)
    return {str(key): item for key, item in value.items()}, notices
