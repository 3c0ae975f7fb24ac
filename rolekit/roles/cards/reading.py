"""Reading a character card, whatever it is wrapped in; the content decides, never the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from rolekit.errors import RolekitError
from rolekit.roles.cards import archive, png
from rolekit.roles.cards.card import MAX_ASSETS, MAX_CARD_BYTES, Asset, Card, Container, Dialect
from rolekit.roles.cards.json_text import parse_card_json, unwrap
from rolekit.roles.cards.yaml_text import parse_card_yaml
from rolekit.text import one_line

ASSET_KEYWORD = "chara-ext-asset_"
_PYGMALION = {"char_name", "char_persona", "char_greeting", "world_scenario", "example_dialogue"}
_YAML_KEYS = {"context", "greeting"}
_V1 = {"name", "description", "personality", "scenario", "first_mes", "mes_example"}
_KINDS = {
    b"RIFF": "a WebP picture", b"GIF8": "a GIF picture", b"<!DO": "a web page", b"<htm": "a web page",
    b"%PDF": "a PDF document", b"GGUF": "a model", b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive",
}  # fmt: skip


def read_card(path: Path) -> Card:
    """The card in a PNG, APNG, JSON, YAML, CharX or JPEG+CharX file. Nothing is ever fetched from anywhere.

    Raises RolekitError, one sentence, when there is none or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith(png.SIGNATURE):
                return _from_png(path, file)
            if head.startswith((b"PK\3\4", b"\xff\xd8\xff")):
                return _from_archive(path, picture=head.startswith(b"\xff\xd8"))
            file.seek(0)
            text = file.read(MAX_CARD_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RolekitError(
            f"The card {one_line(str(path), 300)} cannot be read ({one_line(reason)}).",
            "Check its name and place.",
        ) from error
    return _from_text(path, text)


def _from_text(path: Path, text: bytes) -> Card:
    kind = next((name for start, name in _KINDS.items() if text[:4].lower() == start.lower()), "")
    if kind:
        raise RolekitError(
            f"{one_line(path.name)} is {kind}, not a character card.",
            "Name a card: a PNG picture with a character in it, a CharX archive, or JSON.",
        )
    if not text.strip():
        raise RolekitError(f"{one_line(path.name)} is empty.", "Get the card again.")
    if path.suffix.lower() in (".yaml", ".yml") and not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        payload, notices = parse_card_yaml(text)
        return _card(path, payload, "yaml", notices)
    payload, notices = parse_card_json(text)
    return _card(path, payload, "json", notices)


def _card(
    path: Path, payload: dict[str, Any], container: Container, notices: tuple[str, ...], **parts: Any
) -> Card:
    dialect, guessed = _dialect(payload, path, container)
    return Card(payload, dialect, container, path, notices=(*notices, *guessed), **parts)


def _dialect(payload: Mapping[str, Any], path: Path, container: Container) -> tuple[Dialect, tuple[str, ...]]:
    """Which dialect a payload speaks. Raises RolekitError when it is no character at all."""
    spec, data = payload.get("spec"), payload.get("data")
    if isinstance(data, dict) and (isinstance(spec, str) or _V1 & data.keys()):
        if spec == "chara_card_v2":
            return "v2", ()
        if spec == "chara_card_v3":
            return "v3", _newer(payload)
        if isinstance(spec, str) and spec.startswith("lorebook"):
            raise RolekitError(
                f"{one_line(path.name)} is a lorebook, not a character.",
                "Import it beside a role's other books.",
            )
        guess: Dialect = "v3" if "group_only_greetings" in data or "assets" in data else "v2"
        return guess, (
            f"The card names no known format ({one_line(str(spec), 40)}); it was read as {guess.upper()}.",
        )
    if _PYGMALION & payload.keys():
        return "pygmalion", ()
    if container == "yaml" and _YAML_KEYS & payload.keys():
        return "yaml", ()
    if len(_V1 & payload.keys()) >= 2 or (payload.get("name") and "description" in payload):
        return "v1", ()
    if "entries" in payload or "lorebookVersion" in payload:
        raise RolekitError(
            f"{one_line(path.name)} is a lorebook, not a character.", "Name the character's own card."
        )
    raise RolekitError(
        f"{one_line(path.name)} holds no character: none of a card's fields is in it.",
        "Name a character card (V1, V2, V3, Pygmalion) or a role file (.toml).",
    )


def _newer(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """A notice where the card's version is newer than what is known here; the specification compares as numbers."""
    try:
        newer = float(payload.get("spec_version", 3.0)) > 3.0
    except (TypeError, ValueError):
        return ("The card's spec_version is no number.",)
    version = one_line(str(payload.get("spec_version")), 20)
    return (f"The card says version {version}; it was read as 3.0.",) if newer else ()


def _from_png(path: Path, file: BinaryIO) -> Card:
    texts, assets, rest = _png_texts(path, file)
    chosen = next((texts[name] for name in ("ccv3", "chara") if name in texts), None)
    if chosen is None:
        more = " It holds Stable Diffusion parameters." if "parameters" in rest else ""
        raise RolekitError(
            f"There is no character in the picture {one_line(path.name)}.{more}",
            "Get the original file: messengers and image sites often strip a card from its picture.",
        )
    notices: tuple[str, ...] = ()
    if "ccv3" in texts and "chara" in texts:
        payload, notices = _either(texts["ccv3"], texts["chara"])
    else:
        payload, notices = parse_card_json(unwrap(chosen))
    image = Asset(path.name, path.stat().st_size, lambda: _bare_picture(path))
    return _card(path, payload, "png", notices, assets=assets, image=image)


def _either(newer: bytes, older: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The V3 text, as the specification asks; the V2 one where V3's is damaged. A disagreement is told."""
    try:
        payload, notices = parse_card_json(unwrap(newer))
    except RolekitError as error:
        payload, notices = parse_card_json(unwrap(older))
        return payload, (*notices, f"The V3 card cannot be read, the V2 card was used. {error.what_happened}")
    try:
        other, _ = parse_card_json(unwrap(older))
    except RolekitError:
        return payload, (*notices, "The V2 copy in this picture is damaged; the V3 card was used.")
    names = [
        str((card.get("data") or card).get("name", "")) for card in (payload, other) if isinstance(card, dict)
    ]
    if len(set(names)) > 1:
        shown = " and ".join(one_line(name, 40) for name in names)
        notices = (*notices, f"The picture holds two characters, {shown}; the V3 card was used.")
    return payload, notices


def _png_texts(path: Path, file: BinaryIO) -> tuple[dict[str, bytes], dict[str, Asset], set[str]]:
    """The card texts by lower-cased keyword, the embedded files, and the other keywords."""
    texts: dict[str, bytes] = {}
    assets: dict[str, Asset] = {}
    others: set[str] = set()
    for chunk in png.chunks(file):
        keyword = png.text_keyword(file, chunk)
        name = keyword.lower()
        if name in ("chara", "ccv3"):
            texts[name] = png.text_value(file, chunk)  # a later one wins, as in the programs that append
        elif name.startswith(ASSET_KEYWORD) and len(assets) < MAX_ASSETS:
            asset_path = keyword[len(ASSET_KEYWORD) :].removeprefix(":")
            assets[asset_path] = Asset(asset_path, chunk.length * 3 // 4, _PngAsset(path, chunk))
        elif keyword:
            others.add(name)
    return texts, assets, others


class _PngAsset:
    """Decodes one embedded file of a picture when it is asked for."""

    def __init__(self, path: Path, chunk: png.Chunk) -> None:
        self._path, self._chunk = path, chunk

    def __call__(self) -> bytes:
        return unwrap(png.read_at(self._path, self._chunk, self._chunk.length))


def _bare_picture(path: Path) -> bytes:
    """The picture without the card in it."""
    import io

    target = io.BytesIO()
    with path.open("rb") as file:
        png.copy_with_texts(file, target, ("chara", "ccv3", f"{ASSET_KEYWORD}*"), ())
    return target.getvalue()


def _from_archive(path: Path, *, picture: bool) -> Card:
    try:
        data, files, notices = archive.open_archive(path)
    except RolekitError as error:
        if not picture:
            raise
        raise RolekitError(
            f"There is no character in the picture {one_line(path.name)}.",
            "JPEG pictures carry a card only in the CharX form; get the original PNG or .charx file.",
        ) from error
    payload, more = parse_card_json(data)
    assets = {name: asset for name, asset in files.items() if name.startswith("assets/")}
    extra = {name: asset for name, asset in files.items() if name not in assets}
    image = None
    if picture:
        length = archive.picture_bytes(path)
        image = Asset(path.name, length, lambda: path.read_bytes()[:length])
    container: Container = "jpeg+charx" if picture else "charx"
    return _card(path, payload, container, (*notices, *more), assets=assets, extra_files=extra, image=image)
