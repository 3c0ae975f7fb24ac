"""Texts in every encoding and format, and what a stranger's file may do: nothing."""

from __future__ import annotations

import codecs
import json
import time
import zipfile
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.synthesis.texts import Text, read_texts

CHINESE = "天刚亮，老陈就把门板卸了下来。\n“又起这么早？”老陈问。\n"


def put(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def one(path: Path) -> Text:
    [text] = read_texts([path])
    return text


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("gb18030", b""), ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    ],
)  # fmt: skip
def test_chinese_in_every_encoding(tmp_path: Path, encoding: str, mark: bytes) -> None:
    text = one(put(tmp_path, "a.txt", mark + CHINESE.replace("\n", "\r\n").encode(encoding)))
    assert [line.text for line in text.lines] == CHINESE.split("\n")
    assert [line.number for line in text.lines] == [1, 2, 3]


def test_utf_16_without_a_mark_shows_in_its_zero_bytes(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        assert (
            one(put(tmp_path, "a.txt", "A plain tale.\n".encode(encoding))).lines[0].text == "A plain tale."
        )


def test_characters_of_four_bytes(tmp_path: Path) -> None:
    assert (
        one(put(tmp_path, "a.txt", "他姓㒓，名㐂，字𠮷。\n".encode("gb18030")))
        .lines[0]
        .text.endswith("字𠮷。")
    )


def test_damaged_lines_are_all_named(tmp_path: Path) -> None:
    lines = ["Élise vint.\n".encode() for _ in range(9)]
    lines[2], lines[6] = b"caf\xe9\n", b"\xff\xfe?\n"
    with pytest.raises(RolekitError, match=r"UTF-8 but for a\.txt:3, a\.txt:7\.") as caught:
        read_texts([put(tmp_path, "a.txt", b"".join(lines))])
    assert "iconv" in caught.value.what_to_do


def test_damaged_gb18030_is_named_too(tmp_path: Path) -> None:
    lines = ["老陈又咳了一声。\n".encode("gb18030") for _ in range(30)]
    lines[11] = lines[11][:3] + b"\xff\n"
    with pytest.raises(RolekitError, match=r"GB18030 but for a\.txt:12\."):
        read_texts([put(tmp_path, "a.txt", b"".join(lines))])


def test_latin_1_is_not_taken_for_chinese(tmp_path: Path) -> None:
    """Its accents are valid GB18030 here and there: single Chinese characters in the middle of words."""
    words = "Le garçon était là, près de la fenêtre, où le café fumait déjà.\n" * 5
    with pytest.raises(RolekitError, match="neither UTF-8 nor UTF-16 nor GB18030"):
        read_texts([put(tmp_path, "a.txt", words.encode("latin-1"))])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (b"PK\x03\x04....", "zip archive"),
        (b"a tale" * 30 + b"\0c\n", "zero byte"),
        (b" \n\n", "no text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(RolekitError, match=what):
        read_texts([put(tmp_path, "a.txt", data)])


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    bad = put(tmp_path, "b.txt", b"%PDF")
    with pytest.raises(
        RolekitError, match=r"(?s)b\.txt is a PDF.*c\.doc is not a kind.*d\.txt cannot be read"
    ):
        read_texts([bad, put(tmp_path, "c.doc", "x"), tmp_path / "d.txt"])


def test_rows_name_their_speakers(tmp_path: Path) -> None:
    rows = [
        {"speaker": "Ada", "text": "Show me.", "to": "Charles"}, {"role": "narrator", "content": "A pause."},
        {"messages": [{"role": "user", "content": "Hello?"}, {"role": "Ada", "content": "Well?"}]},
    ]  # fmt: skip
    lines = one(put(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))).lines
    assert [(line.number, line.speaker, line.text, line.addressee) for line in lines] == [
        (1, "Ada", "Show me.", "Charles"), (2, "", "A pause.", ""), (3, "user", "Hello?", ""), (3, "Ada", "Well?", ""),
        (3, "", "", ""),
    ]  # fmt: skip
    with pytest.raises(
        RolekitError, match=r"a\.jsonl:1: no text .*a\.jsonl:2: not JSON.*a\.jsonl:3: a JSON array"
    ):
        read_texts([put(tmp_path, "a.jsonl", '{"who": 1}\n{"text": \n[1]\n')])


def test_subtitles_keep_words_and_places(tmp_path: Path) -> None:
    srt = "1\n00:00:01,000 --> 00:00:02,000\n<i>Where is</i>\nthe boat?\n\n2\n00:00:02,500 --> 00:00:04,000\n{\\an8}Here.\n"
    lines = [line for line in one(put(tmp_path, "a.srt", srt)).lines if line.text]
    assert [(line.number, line.text) for line in lines] == [(3, "Where is"), (4, "the boat?"), (8, "Here.")]
    with pytest.raises(RolekitError, match="no subtitle times"):
        read_texts([put(tmp_path, "b.srt", "Only words.\n")])


CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf"><manifest>
<item id="c2" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="c1" href="sub/one%20.xhtml" media-type="application/xhtml+xml"/>
<item id="css" href="a.css" media-type="text/css"/></manifest>
<spine><itemref idref="c1"/><itemref idref="c2"/><itemref idref="c1"/></spine></package>"""
ONE = """<?xml version="1.0"?>
<html><head><title>No</title><style>p{}</style></head>
<body><h1>One</h1>
<p>&#8220;You are
late,&#8221; said <b>Mara</b>.</p>
<script>alert(1)</script><!-- gone --><p>Rain &amp; wind.</p></body></html>"""


def book(path: Path, files: dict[str, bytes | str], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def files_with(**changes: bytes | str) -> dict[str, bytes | str]:
    return {
        "META-INF/container.xml": CONTAINER, "OEBPS/book.opf": changes.get("package", PACKAGE),
        "OEBPS/sub/one .xhtml": changes.get("one", ONE), "OEBPS/two.xhtml": "<p>Two.</p>",
    }  # fmt: skip


def test_a_book_is_read_in_its_order_with_lines(tmp_path: Path) -> None:
    first, second = read_texts([book(tmp_path / "b.epub", files_with())])
    assert (first.source, second.source) == ("b.epub!OEBPS/sub/one .xhtml", "b.epub!OEBPS/two.xhtml")
    assert [(line.number, line.text) for line in first.lines if line.text] == [
        (3, "# One"), (4, "“You are late,” said Mara."), (6, "Rain & wind."),
    ]  # fmt: skip


def test_no_entity_is_declared_and_nothing_outside_is_opened(tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.txt", "SECRET")
    evil = f'<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;"><!ENTITY s SYSTEM "file://{secret}">]><p>&b; &s; end</p>'
    first, _ = read_texts([book(tmp_path / "b.epub", files_with(one=evil))])
    assert [line.text for line in first.lines if line.text] == ["&b; &s; end"]


@pytest.mark.parametrize(
    "href", ["../../secret.txt", "/etc/passwd", "file:///etc/passwd", "C:\\secret.txt", "..%2f..%2fx"]
)
def test_no_way_leads_out_of_the_archive(tmp_path: Path, href: str) -> None:
    put(tmp_path, "secret.txt", "SECRET")
    package = PACKAGE.replace("two.xhtml", href)
    texts = read_texts([book(tmp_path / "b.epub", files_with(package=package))])
    assert [text.source for text in texts] == ["b.epub!OEBPS/sub/one .xhtml"]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (files_with(one="<p>" + "a" * (5 << 20)), "unpacks to 5"),  # a bomb: a thousand to one
        (files_with(one=b"a" * (9 << 20)), "unpacks to 9"),
        ({"META-INF/container.xml": CONTAINER}, "does not say where its book begins"),
        ({"x": "y"}, "has no META-INF/container.xml"),
        (
            files_with(package=PACKAGE.replace("two.xhtml", "three.xhtml")),
            "names documents that are not in it",
        ),
        (files_with(package="<package><spine/></package>"), "no documents"),
        (files_with(one=b"<p>caf\xe9 \xff</p>"), "neither UTF-8"),
    ],
)
def test_broken_and_hostile_books_are_refused(
    tmp_path: Path, files: dict[str, bytes | str], what: str
) -> None:
    with pytest.raises(RolekitError, match=what):
        read_texts([book(tmp_path / "b.epub", files)])


def test_damaged_and_encrypted_books_are_refused(tmp_path: Path) -> None:
    whole = book(tmp_path / "b.epub", files_with()).read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"PK\x05\x06" + b"\0" * 18, b"no zip at all"):
        with pytest.raises(RolekitError, match=r"cannot be read as an EPUB|has no META-INF"):
            read_texts([put(tmp_path, "c.epub", data)])
    at = whole.rfind(b"PK\x01\x02")
    locked = bytearray(whole)
    for start in (found for found in range(at + 1) if whole[found : found + 4] == b"PK\x01\x02"):
        locked[start + 8] |= 1
    with pytest.raises(RolekitError, match="encrypted"):
        read_texts([put(tmp_path, "d.epub", bytes(locked))])


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<!--",
        "<![CDATA[",
        "<!DOCTYPE [",
        "<a b='",
        "&#",
        '<a b="c" ',
        "“",
        "\n\n“a” ",
        "NAME: ",
        "- ",
        "=",
        "說「",
    ],
)
def test_no_text_takes_long(tmp_path: Path, piece: str) -> None:
    """A hundred thousand characters of what could make a pattern look again and again."""
    from rolekit.synthesis.dialogue import read_dialogue

    many = piece * (100_000 // len(piece))
    start = time.process_time()
    texts = read_texts(
        [book(tmp_path / "b.epub", files_with(one=f"<p>x{many}</p>")), put(tmp_path, "a.txt", "x " + many)]
    )
    for text in texts:
        read_dialogue(text, "Mara")
    assert time.process_time() - start < 20
