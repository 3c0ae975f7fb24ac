"""Writing a card down: JSON, PNG with both chunks, or CharX. Every key and every embedded file goes along."""

from __future__ import annotations

import base64
import copy
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from rolekit.errors import RolekitError
from rolekit.paths import replacing
from rolekit.roles.cards import png
from rolekit.roles.cards.archive import CARD_NAME
from rolekit.roles.cards.card import Asset, Card
from rolekit.roles.cards.json_text import card_json
from rolekit.roles.cards.reading import ASSET_KEYWORD
from rolekit.roles.cards.sheet import sheet_of
from rolekit.text import one_line

Version = Literal["v2", "v3"]
_TEXTS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
_V2_TEXTS = ("creator_notes", "system_prompt", "post_history_instructions", "creator", "character_version")
_SCHEME = re.compile(r"^(?:embeded://|embedded://|__asset:)")
_DECORATORS = re.compile(r"\A(?:[ \t]*@@@?[^\n]*(?:\n|\Z))+")


def write_card(card: Card, target: Path, version: Version | None = None) -> None:
    """Write a card to target; its ending says how: .json, .png, .charx, or .jpg for a picture with an archive.

    Without version a card keeps its own (V1 and older become V2). A PNG always gets both chunks.
    Raises RolekitError for another ending, or when the place cannot be written.
    """
    suffix = target.suffix.lower()
    if suffix not in (".json", ".png", ".apng", ".charx", ".jpg", ".jpeg"):
        raise RolekitError(
            f"A card cannot be written as {one_line(target.name)}.", "Name a .png, .json or .charx file."
        )
    with replacing(target) as file:
        if suffix == ".json":
            file.write(card_json(payload_of(card, version)))
        elif suffix in (".png", ".apng"):
            _write_png(card, file)
        else:
            if suffix != ".charx":
                file.write(_jpeg_of(card))
            _write_charx(card, file)


def payload_of(card: Card, version: Version | None = None) -> dict[str, Any]:
    """The card's JSON object in that version: the object itself where it has it already, else all its keys kept."""
    if version is None and card.dialect in ("v1", "pygmalion", "yaml"):
        version = "v2"
    if version is None or version == card.dialect:
        return dict(copy.deepcopy(card.payload))
    if card.dialect in ("v2", "v3"):
        payload = dict(copy.deepcopy(card.payload))
        payload["data"] = dict(payload.get("data") or {})
    else:
        payload = {**copy.deepcopy(dict(card.payload)), "data": _data_of_v1(card)}
    payload["spec"] = f"chara_card_{version}"
    payload["spec_version"] = "2.0" if version == "v2" else "3.0"
    data = payload["data"]
    if version == "v3":
        data.setdefault("group_only_greetings", [])
    else:
        _strip_decorators(data)
    return payload


def _data_of_v1(card: Card) -> dict[str, Any]:
    """V2's `data` of an older card; keys that are not V1's stay at the root, where they were."""
    sheet = sheet_of(card)
    data: dict[str, Any] = {key: getattr(sheet, key) for key in _TEXTS}
    data |= {key: getattr(sheet, key) for key in _V2_TEXTS}
    data |= {
        "alternate_greetings": list(sheet.alternate_greetings),
        "tags": list(sheet.tags),
        "extensions": {},
    }
    if sheet.book:
        data["character_book"] = copy.deepcopy(dict(sheet.book))
    return data


def _strip_decorators(data: dict[str, Any]) -> None:
    """V2 readers know no decorators and would put them into prompts (the V3 text asks for this)."""
    book = data.get("character_book")
    entries = book.get("entries") if isinstance(book, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            entry["content"] = _DECORATORS.sub("", entry["content"])


def _write_png(card: Card, file: IO[bytes]) -> None:
    texts = [
        png.text_chunk("chara", base64.b64encode(card_json(payload_of(card, "v2")))),
        png.text_chunk(
            "ccv3", base64.b64encode(card_json(_with_scheme(payload_of(card, "v3"), card, "__asset:")))
        ),
    ]
    source = io.BytesIO(_picture(card))
    chunks = _Lazily(texts, card.assets)
    png.copy_with_texts(source, _binary(file), ("chara", "ccv3", f"{ASSET_KEYWORD}*"), chunks)


def _binary(file: IO[bytes]) -> Any:
    return file


class _Lazily:
    """The card's chunks, then each embedded file, read one at a time."""

    def __init__(self, texts: list[bytes], assets: Mapping[str, Asset]) -> None:
        self._texts, self._assets = texts, assets

    def __iter__(self) -> Iterator[bytes]:
        for path, asset in self._assets.items():
            keyword = f"{ASSET_KEYWORD}:{path}".encode("latin-1", "replace").decode("latin-1")
            yield png.text_chunk(keyword, base64.b64encode(asset.read()))
        yield from self._texts


def _picture(card: Card) -> bytes:
    """PNG bytes to carry the card: its own picture, else its icon, else one colour."""
    candidates = [card.image] if card.image else []
    candidates += [asset for path, asset in card.assets.items() if _is_icon(card, path)]
    candidates += list(card.assets.values())
    for asset in candidates:
        if asset is card.image or asset.path.lower().endswith(".png"):
            data = asset.read()
            if data.startswith(png.SIGNATURE):
                return data
    return png.plain_png()


def _is_icon(card: Card, path: str) -> bool:
    assets = card.data.get("assets")
    return any(
        isinstance(row, dict) and row.get("type") == "icon" and asset_path(row.get("uri")) == path
        for row in (assets if isinstance(assets, list) else ())
    )


def asset_path(uri: object) -> str | None:
    """What an embedded URI calls its file; None for a URI that points elsewhere."""
    return _SCHEME.sub("", uri) if isinstance(uri, str) and _SCHEME.match(uri) else None


def _with_scheme(payload: dict[str, Any], card: Card, scheme: str) -> dict[str, Any]:
    """The payload with the URIs of embedded files written the way the container asks; others stay."""
    at_home = ("png",) if scheme == "__asset:" else ("charx", "jpeg+charx")
    assets = payload["data"].get("assets") if isinstance(payload.get("data"), dict) else None
    if card.container in at_home or not isinstance(assets, list):
        return payload
    payload["data"]["assets"] = [
        {**row, "uri": scheme + path}
        if isinstance(row, dict) and (path := asset_path(row.get("uri"))) is not None
        else row
        for row in assets
    ]
    return payload


def _write_charx(card: Card, file: IO[bytes]) -> None:
    with zipfile.ZipFile(_binary(file), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD_NAME, card_json(_with_scheme(payload_of(card, "v3"), card, "embeded://")))
        for path, asset in {**card.assets, **card.extra_files}.items():
            archive.writestr(zipfile.ZipInfo(path), asset.read())


def _jpeg_of(card: Card) -> bytes:
    data = card.image.read() if card.image else b""
    if not data.startswith(b"\xff\xd8"):
        raise RolekitError("This card has no JPEG picture.", "Export it as .png or .charx.")
    return data
