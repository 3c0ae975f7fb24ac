"""Cards as they come in the wild: each is read, or refused in one sentence, and nothing in it is lost."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rolekit.errors import RolekitError
from rolekit.roles.block import role_block
from rolekit.roles.cards import png
from rolekit.roles.cards.card import Card
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.sheet import sheet_of
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.cards.trust import lines_of, trust_sheet
from rolekit.roles.cards.writing import write_card
from rolekit.roles.role import Example

V1 = {
    "name": "Ada", "description": "A counter.", "personality": "dry", "scenario": "London", "first_mes": "Hello.",
    "mes_example": "<START>\n{{user}}: Why?\n{{char}}: Because.", "avatar": "none", "talkativeness": "0.7",
}  # fmt: skip
DATA = {
    **{key: V1[key] for key in ("name", "description", "personality", "scenario", "first_mes", "mes_example")},
    "creator_notes": "Be kind.", "system_prompt": "Count. {{original}}", "post_history_instructions": "Keep counting.",
    "alternate_greetings": ["Good day.", "Well?"], "tags": ["math"], "creator": "me", "character_version": "2",
    "character_book": {
        "name": "world", "extensions": {"x": {"y": [1, None]}}, "unknown_book_key": True,
        "entries": [{
            "keys": ["engine"], "content": "@@depth 2\nThe engine turns.", "extensions": {"position": 4, "zz": 0},
            "enabled": True, "insertion_order": 10, "constant": True, "future": "kept",
        }],
    },
    "extensions": {"depth_prompt": {"prompt": "Numbers!", "depth": "3", "role": "user"}, "own": [1, {"a": "é"}]},
    "from_the_future": {"deep": [1.5, "漢字", None]},
}  # fmt: skip
V2 = {"spec": "chara_card_v2", "spec_version": "2.0", "data": DATA, "root_extra": 1}
V3 = {
    "spec": "chara_card_v3", "spec_version": "3.0",
    "data": {
        **DATA, "nickname": "Countess", "group_only_greetings": [], "source": ["a"],
        "assets": [{"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"}],
    },
}  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def packed(value: object) -> bytes:
    return base64.b64encode(json.dumps(value).encode())


def text(keyword: str, value: bytes) -> bytes:
    return chunk(b"tEXt", keyword.encode() + b"\0" + value)


def picture(*before: bytes, after: bytes = b"", behind: bytes = b"") -> bytes:
    """A PNG with chunks before IDAT, after it, and behind IEND."""
    plain = png.plain_png(4, 4)
    idat, iend = plain.index(b"IDAT") - 4, plain.index(b"IEND") - 4
    return plain[:idat] + b"".join(before) + plain[idat:iend] + after + plain[iend:] + behind


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes | object], Path]:
    def make(name: str, content: bytes | object) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return make


Put = Callable[[str, object], Path]


def charx(files: dict[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def with_field(**fields: object) -> dict[str, Any]:
    return {**V2, "data": {**DATA, **fields}}


# Each row: what it is, the file's name, its bytes, and the name of the character that must come out.
WILD: list[tuple[str, str, bytes, str]] = [
    ("1 both chunks disagree", "a.png",
     picture(text("chara", packed({**V2, "data": {**DATA, "name": "Old"}})), text("ccv3", packed(V3))), "Ada"),
    ("2 chunks after IDAT", "a.png", picture(after=text("chara", packed(V2))), "Ada"),
    ("3 other texts first", "a.png", picture(text("Software", b"x"), text("chara", packed(V2))), "Ada"),
    ("4 keyword case", "a.png", picture(text("Chara", packed(V2))), "Ada"),
    ("4 iTXt", "a.png", picture(chunk(b"iTXt", b"chara\0\0\0\0\0" + packed(V2))), "Ada"),
    ("4 iTXt compressed", "a.png",
     picture(chunk(b"iTXt", b"chara\0\1\0en\0\0" + zlib.compress(packed(V2)))), "Ada"),
    ("4 zTXt", "a.png", picture(chunk(b"zTXt", b"chara\0\0" + zlib.compress(packed(V2)))), "Ada"),
    ("4 behind IEND", "a.png", picture(behind=text("chara", packed(V2))), "Ada"),
    ("5 no padding", "a.png", picture(text("chara", packed(V2).rstrip(b"="))), "Ada"),
    ("5 line breaks", "a.png", picture(text("chara", base64.encodebytes(json.dumps(V2).encode()))), "Ada"),
    ("5 url-safe", "a.png",
     picture(text("chara", base64.urlsafe_b64encode(json.dumps({**V2, "p": "???>>>ÿÿ"}).encode()))), "Ada"),
    ("5 raw JSON", "a.png", picture(text("chara", json.dumps(V2).encode())), "Ada"),
    ("7 a large alien chunk", "a.png",
     picture(text("risuai", b"x" * 3_400_000), text("chara", packed(V1))), "Ada"),
    ("8 null book", "a.json", json.dumps(with_field(character_book=None)).encode(), "Ada"),
    ("9 empty name", "nobody.json", json.dumps(with_field(name="")).encode(), "nobody"),
    ("10 odd numbers", "a.json", json.dumps(with_field(character_version=2, extensions={
        "talkativeness": "", "depth_prompt": {"prompt": "x", "depth": ""}})).encode(), "Ada"),
    ("11 texts for lists", "a.json", json.dumps(with_field(alternate_greetings="Hi", tags="a, b")).encode(), "Ada"),
    ("12 bare entries", "a.json", json.dumps(with_field(
        character_book={"entries": {"0": {"keys": ["k"], "content": "c"}}})).encode(), "Ada"),
    ("13 use_regex on plain keys", "a.json", json.dumps(with_field(character_book={
        "entries": [{"keys": ["plain"], "content": "c", "use_regex": True}]})).encode(), "Ada"),
    ("14 V3 fields in V2", "a.json", json.dumps(with_field(nickname="", group_only_greetings=["x"])).encode(), "Ada"),
    ("14 V3 without its list", "a.json", json.dumps({**V3, "data": DATA}).encode(), "Ada"),
    ("15 Pygmalion", "a.json", json.dumps({"char_name": "Ada", "char_persona": "A counter.", "world_scenario": "",
        "char_greeting": "Hello.", "example_dialogue": ""}).encode(), "Ada"),
    ("15 YAML", "a.yaml", b"name: Ada\ncontext: A counter.\ngreeting: |\n  Hello,\n  you.\n", "Ada"),
    ("17 BOM", "a.json", b"\xef\xbb\xbf" + json.dumps(V2).encode(), "Ada"),
    ("17 Windows lines", "a.json", json.dumps(V2, indent=1).replace("\n", "\r\n").encode(), "Ada"),
    ("17 lone surrogates", "a.json", json.dumps(with_field(creator_notes="\ud800!")).encode(), "Ada"),
    ("17 Latin-1", "Ä.json", json.dumps({**V1, "creator": "Zoë"}, ensure_ascii=False).encode("latin-1"), "Ada"),
    ("19 root duplicates", "a.json", json.dumps({**V2, "name": "Stale", "first_mes": "Stale"}).encode(), "Ada"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "name"), [row[1:] for row in WILD], ids=[row[0] for row in WILD])
def test_wild_cards_are_read(put: Put, file: str, content: bytes, name: str) -> None:
    card = read_card(put(file, content))
    role = role_of(card).role
    assert role.name in (name, "Countess")
    assert role.description == "A counter."
    assert trust_sheet(card).name


REFUSED: list[tuple[str, str, bytes, str]] = [
    ("6 encrypted", "a.png", picture(text("chara", b"rcc||rccv1||abc")), "encrypted RisuAI card"),
    ("16 WebP", "a.png", b"RIFF\0\0\0\0WEBP", "WebP picture"),
    ("16 web page", "a.json", b"<!DOCTYPE html><html>", "web page"),
    ("a picture without a card", "a.png", picture(text("parameters", b"1girl")), "Stable Diffusion"),
    ("a JPEG", "a.jpg", b"\xff\xd8\xff\xe0" + b"x" * 100, "no character in the picture"),
    ("no JSON", "a.json", b"{nope", "not valid JSON"),
    ("a list", "a.json", b"[1]", "not an object"),
    ("nothing", "a.json", b" \n", "is empty"),
    ("no character", "a.json", b'{"a": 1}', "holds no character"),
    ("a lorebook", "a.json", b'{"entries": {}}', "is a lorebook"),
    ("nobody described", "a.json", json.dumps({"name": "x", "description": "", "first_mes": ""}).encode(),
     "says nothing about"),
    ("deep JSON", "a.json", b'{"a":' + b"[" * 100_000, "nested too deeply"),
    ("many parts", "a.json", b'{"a":[' + b"[]," * 300_000 + b"0]}", "far more parts"),
    ("inflating text", "a.png", picture(chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"A" * 40_000_000, 9))),
     "longer than"),
    ("damaged deflate", "a.png", picture(chunk(b"zTXt", b"chara\0\0" + b"\x78\x9cgarbage")), "damaged"),
    ("neither base64 nor JSON", "a.png", picture(text("chara", b"!!!")), "neither base64 nor JSON"),
    ("anchors", "a.yaml", b"name: &a [x]\ncontext: *a\n", "anchors"),
    ("no card.json", "a.charx", charx({"sub/card.json": b"{}"}), "no card.json at its root"),
    ("zip bomb", "a.charx", charx({"card.json": b" " * 15_000_000}), "unpacks to"),
    ("cut zip", "a.charx", charx({"card.json": b"{}"})[:-30], "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_no_card_is_refused_in_one_sentence(put: Put, file: str, content: bytes, said: str) -> None:
    with pytest.raises(RolekitError) as caught:
        role_of(read_card(put(file, content)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("payload", [V1, V2, V3], ids=["V1", "V2", "V3"])
@pytest.mark.parametrize("ending", [".json", ".png", ".charx"])
def test_a_round_trip_keeps_every_key(tmp_path: Path, put: Put, payload: dict[str, Any], ending: str) -> None:
    original = read_card(put("a.json", payload))
    target = tmp_path / f"back{ending}"
    write_card(original, target)
    back = read_card(target)
    expected = original.data if payload is V1 else payload["data"]
    for key, value in expected.items():
        place = back.data if key in back.data else back.payload
        assert place[key] == value, key
    assert {key: back.payload[key] for key in payload if key not in ("spec", "spec_version", "data")} == {
        key: payload[key] for key in payload if key not in ("spec", "spec_version", "data")
    }
    if ending == ".json" and payload is not V1:
        assert back.payload == payload


def test_an_exported_picture_holds_one_character_whatever_was_in_it(tmp_path: Path, put: Put) -> None:
    stale = put("a.png", picture(text("chara", packed(V2)), after=text("ccv3", packed(V3))))
    card = read_card(put("b.json", {**V3, "data": {**V3["data"], "name": "Watson"}}))  # type: ignore[dict-item]
    source = read_card(stale)
    target = tmp_path / "new.png"
    write_card(Card(card.payload, "v3", "json", card.origin, image=source.image), target)
    found = []
    with target.open("rb") as file:
        for part in png.chunks(file):
            if png.text_keyword(file, part) in ("chara", "ccv3"):
                found.append(json.loads(base64.b64decode(png.text_value(file, part)))["data"]["name"])
    assert found == ["Watson", "Watson"]
    book = json.loads(base64.b64decode(_texts(target)["chara"]))["data"]["character_book"]
    assert book["entries"][0]["content"] == "The engine turns."


def _texts(path: Path) -> dict[str, bytes]:
    with path.open("rb") as file:
        return {png.text_keyword(file, part): png.text_value(file, part) for part in png.chunks(file)
                if part.kind == b"tEXt"}  # fmt: skip


def test_embedded_files_travel_between_containers(tmp_path: Path, put: Put) -> None:
    smile = png.plain_png(2, 2, (1, 2, 3))
    path = "assets/icon/images/main.png"
    assets = [{"type": "icon", "uri": f"embeded://{path}", "name": "main", "ext": "png"},
              {"type": "background", "uri": "https://example.org/never", "name": "far", "ext": "png"}]  # fmt: skip
    payload = {**V3, "data": {**V3["data"], "assets": assets}}  # type: ignore[dict-item]
    files = {
        "card.json": json.dumps(payload).encode(),
        path: smile,
        "module.risum": b"\0\1risu",
        "x_meta.json": b"{}",
    }
    first = read_card(put("a.charx", charx(files)))
    write_card(first, tmp_path / "b.charx")
    again = read_card(tmp_path / "b.charx")
    assert again.payload == payload
    assert {name: asset.read() for name, asset in {**again.assets, **again.extra_files}.items()} == {
        name: data for name, data in files.items() if name != "card.json"
    }
    write_card(first, tmp_path / "c.png")
    picture_card = read_card(tmp_path / "c.png")
    assert picture_card.assets[path].read() == smile
    assert picture_card.data["assets"][0]["uri"] == f"__asset:{path}"
    assert picture_card.data["assets"][1] == assets[1]
    write_card(picture_card, tmp_path / "d.charx")
    last = read_card(tmp_path / "d.charx")
    assert last.data["assets"] == assets
    assert last.assets[path].read() == smile


def test_a_jpeg_with_an_archive_behind_it(tmp_path: Path, put: Put) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + b"pixels" * 50 + b"\xff\xd9"
    path = put("a.jpg", jpeg + charx({"card.json": json.dumps(V3).encode(), "assets/other/a.bin": b"abc"}))
    card = read_card(path)
    assert (card.container, card.image and card.image.read()) == ("jpeg+charx", jpeg)
    write_card(card, tmp_path / "b.jpeg")
    back = read_card(tmp_path / "b.jpeg")
    assert back.payload == V3
    assert back.assets["assets/other/a.bin"].read() == b"abc"


def test_names_that_lead_out_of_an_archive_are_left_out_and_told(put: Put) -> None:
    files = {
        "card.json": json.dumps(V3).encode(),
        "../evil": b"x",
        "/etc/x": b"x",
        "a/..\\b": b"x",
        "assets/ok": b"y",
    }
    card = read_card(put("a.charx", charx(files)))
    assert [*card.assets, *card.extra_files] == ["assets/ok"]
    assert sum("left out" in notice for notice in card.notices) == 3
    link = read_card(
        put("b.charx", charx({"card.json": json.dumps(V3).encode(), "assets/l": b"/etc/passwd"}, 0o120777))
    )
    assert not link.assets


def test_the_role_says_all_that_the_card_says(put: Put) -> None:
    role = role_of(read_card(put("a.json", V3))).role
    assert (role.name, role.aliases) == ("Countess", ("Ada",))
    assert role.examples == (Example(user="Why?", reply="Because."),)
    assert role.alternate_greetings == ("Good day.", "Well?")
    assert (role.post_history, role.notes[0].depth, role.notes[0].speaker) == ("Keep counting.", 3, "user")
    block = role_block(role, "Bob")
    assert block.startswith("Count. Stay in character as Countess")
    assert "{{" not in block
    assert [word in block for word in ("A counter.", "dry", "London")] == [True] * 3


EXAMPLES = [
    ("no <START>", "Ada: One.\n{{user}}: Two?\n{{Char}}: Three.", 0, "Ada: One."),
    ("real name", "<start>\n{{ user }}: Two?\nAda: Three.\nAnd four.", 1, ""),
    ("legacy tags", "<START>\n<USER>: Two?\n<BOT>: Three.", 1, ""),
    ("a narrator", "<START>\nIt rains.\n{{user}}: Two?\n{{char}}: Three.", 0, "It rains."),
    ("two blocks", "<START>\n{{user}}: A?\n{{char}}: B.\n<START>\n{{user}}: A?\n{{char}}: C.", 1, "C."),
]


@pytest.mark.parametrize(
    ("dialogue", "pairs", "rest"), [row[1:] for row in EXAMPLES], ids=[row[0] for row in EXAMPLES]
)
def test_example_dialogue_becomes_pairs_or_stays_text(put: Put, dialogue: str, pairs: int, rest: str) -> None:
    role = role_of(read_card(put("a.json", with_field(mes_example=dialogue)))).role
    assert len(role.examples) == pairs
    assert rest in role.example_text
    assert all(pair.reply.startswith(("Three.", "B.")) for pair in role.examples)


def test_the_trust_sheet_shows_what_would_speak_to_the_model(put: Put) -> None:
    entry = {"keys": ["/eng.ne/i", "plain"], "content": "{{setvar::a::b}}", "constant": True}
    card = read_card(put("a.json", with_field(
        character_book={"entries": [entry]}, creator_notes="see http://example.org/a", tags=["a\u202eb"],
        extensions={"regex_scripts": [{}, {}]}, system_prompt="\x1b]0;x\x07Obey.",
    )))  # fmt: skip
    sheet = trust_sheet(card)
    assert sheet.regexes == ("/eng.ne/i",)
    assert (sheet.lore_entries, sheet.constant_entries, sheet.scripts) == (1, 1, 2)
    assert sheet.links == ("http://example.org/a",)
    assert sheet.side_effects == ("setvar",)
    assert sheet.hidden_characters == 3
    shown = "\n".join(lines_of(sheet))
    assert "Obey." in shown
    assert not set("\x1b\x07\u202e") & set(shown)


def test_fields_of_wrong_types_mean_what_they_must(put: Put) -> None:
    sheet = sheet_of(read_card(put("a.json", with_field(
        alternate_greetings="Hi", tags="a, b", character_version=2, description=["x", "y"], talkativeness=True,
        extensions={"talkativeness": "0.25", "depth_prompt": {"prompt": "n", "depth": "-5", "role": 2}},
    ))))  # fmt: skip
    assert (sheet.alternate_greetings, sheet.tags, sheet.character_version) == (("Hi",), ("a", "b"), "2")
    assert (sheet.description, sheet.talkativeness) == ("x\ny", 0.25)
    assert sheet.depth_prompt is not None
    assert (sheet.depth_prompt.depth, sheet.depth_prompt.speaker) == (0, "assistant")
