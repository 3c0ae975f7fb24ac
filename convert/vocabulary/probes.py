"""Texts that tell tokenizers apart: many languages, chats, code, numbers, blanks, and mixtures of them by chance."""

from __future__ import annotations

import random
from collections.abc import Sequence

_SENTENCES = (
    "Hello, world! How are you today?",
    "I can't believe it's Sherlock's pipe; they'd say we're late, you'll see, I've no idea, I'm sure he'd go.",
    "IT'S HERS, NOT JOHN'S! WE'LL SEE, YOU'RE LATE, I'D SAY, THEY'VE GONE, I'M HOME, DON'T.",
    '*She leans closer, whispering:* "Meet me at 221B Baker Street… at 7:45 p.m." (Don\'t be late!)',
    "“Elementary,” said Holmes—‘quite’—and lit his pipe; that’s all, isn’t it?",
    "The year 1984, 3.14159, 1,000,000, 0x1F, 10%, $20.50, 12:30, 2026-11-25, 1e-5, v2.0.1, 007, 1234567890123.",
    "   leading blanks, trailing blanks   ",
    "tabs\there\t\tand\nnew\n\nlines\r\nof\r\n\r\nevery kind \n \n\n \t\n end",
    "a  b   c    d     e      f       g        h                i",
    "\n\n\n",
    " ",
    "    ",
    "x\n    y\n        z\n\treturn",
    'def f(x: int) -> str:\n    """Doc."""\n    return f\'{x!r:>10}\' if x != 0 else ""  # ok\n\n\nclass A:\n\tpass',
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 2; } // loop",
    '<div class="a-b_c">&amp;</div><br/> {"key": [1, 2.5, null, true]} SELECT * FROM t WHERE id=\'x\';',
    "https://example.org/path?query=1&other=a%20b#frag user@example.com C:\\Users\\x ~/bin ../..",
    "# Title\n\n- one\n- two\n  1. three\n\n> quote **bold** _it_ `code` ~~no~~ | a | b |\n|---|---|",
    "!!! ??? ... --- ___ *** === +++ ((( ))) [[[ ]]] {{{ }}} <<< >>> /// \\\\\\ ||| &&& ^^^ %%% $$$ ### @@@ ~~~ ``` ''' \"\"\"",
    "Déjà vu à l'école : l'été, c'est où ? Qu'est-ce qu'elle a dit ? Garçon, naïve, œuvre, ÇA ÉTAIT ÉTÉ.",
    "Über den Wolken muß die Freiheit wohl grenzenlos sein. Straße, Äpfel, Öl, ÜBUNG, Größe.",
    "¿Qué tal? ¡Mañana será otro día! El pingüino comió ñame. AÑO NUEVO.",
    "Não há função sem ação; você está à espera. AVIÃO.",
    "Perché no? È così: città, virtù, L'AMICO, dell'arte.",
    "Zażółć gęślą jaźń. Łódź. ŻÓŁĆ.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. ŘEKA.",
    "Pijamalı hasta yağız şoföre çabucak güvendi. İSTANBUL'da ILIK Işık.",
    "Tiếng Việt có nhiều dấu: ắ ằ ẳ ẵ ặ, đường phố Hà Nội.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. МОСКВА, ЁЖ.",
    "Чуєш їх, доцю, га? Кумедна ж ти, прощайся без ґольфів!",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΑΘΗΝΑ, ΐ ΰ ς.",
    'הוא אמר: "שלום עולם", ואז הלך הביתה.',
    "مرحبا بالعالم! كيف حالك اليوم؟ ١٢٣٤٥ السلام عليكم.",
    "یک زبان زیبا، فارسی است؛ «می‌روم» ۱۲۳۴۵.",
    "你好，世界！今天天气怎么样？我叫福尔摩斯，住在贝克街221号B座。",
    "《红楼梦》里有一句话：“满纸荒唐言，一把辛酸泪。”——曹雪芹（1715—1763）",
    "繁體中文也要測試：臺灣、龍、鬱、憂鬱的烏龜。",
    "こんにちは、世界！今日はいい天気ですね。カタカナ、ひらがな、漢字ｶﾀｶﾅ、１２３。",
    "안녕하세요, 세계! 오늘 날씨가 어때요? 한국어 텍스트입니다. ㅋㅋㅋ ㅠㅠ",
    "Habari ya dunia? Ninapenda kusoma vitabu. Xin chào! Saluton! Halló! Sveiki! Tere! Moi!",
    "½ ¼ ² ³ ¹ ⅓ Ⅳ ① ㈠ № ™ © ® § ¶ † ‡ • … ‰ ′ ″ ‹ › « » „ ‚ ¡ ¿ ¢ £ ¥ € ₹ ₽ ₿ ° µ ± × ÷ ∞ ≈ ≠ ≤ ≥ ∑ ∫ √ π Ω → ← ⇒",
    "😀 😂🤣 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☕️ ✨✨ 🧙‍♂️ ♟️ ⚔️🐉 (╯°□°）╯︵ ┻━┻ ¯\\_(ツ)_/¯ ^_^ :-)",
    "non\u00a0breaking\u00a0space, thin\u2009space, zero\u200bwidth, ideographic\u3000space, line\u2028separator",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ThisIsCamelCase thisIsToo snake_case SCREAMING_CASE kebab-case XMLHttpRequest iPhone15Pro eBay McDonald's O'Neill",
    "supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "i.e., e.g., U.S.A., Ph.D., Mr. & Mrs. Smith, etc.; vs. a/b, and/or, he/she, 50/50, 3x4, 4K, 5G, H2O, CO2",
)
_MARKED = (
    "नमस्ते दुनिया! आज आप कैसे हैं? १२३ क्षत्रिय।",
    "হ্যালো বিশ্ব! আজ কেমন আছেন?",
    "வணக்கம் உலகம்! இன்று எப்படி இருக்கிறீர்கள்?",
    "నమస్కారం ప్రపంచం! ఈ రోజు ఎలా ఉన్నారు?",
    "สวัสดีชาวโลก วันนี้เป็นอย่างไรบ้าง ภาษาไทยไม่มีวรรค",
    "မင်္ဂလာပါ ကမ္ဘာလောက",
    "សួស្តី\u200bពិភពលោក",
    "السَّلَامُ عَلَيْكُمْ وَرَحْمَةُ اللهِ",
    "שָׁלוֹם עוֹלָם",
    "q\u0307x\u0323 combining: n\u0303 e\u0301 o\u0308 Z\u0351\u036b\u0343",
)
"""Words with combining marks, by which llama.cpp's rules for tekken and gpt-4o differ from the models' own."""

_POOLS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    " \n\t",
    "      ",
    ".,;:!?'\"()[]{}<>-_/\\|@#$%^&*+=~`",
    "'s't're've'm'll'd'S'T",
    "éèàüößñçÉÜÑø",
    "абвгдеёжзАБВ",
    "αβγδεΑΒΓ",
    "你好世界天地玄黄的了是",
    "あいうえおカキク漢",
    "가나다라한글",
    "مرحباسل",
    "שלום",
    "😀👍🎉❤✨",
    "\r\n\u00a0\u3000",
    "—“”‘’…«»",
)


def plain_texts() -> tuple[str, ...]:
    """Texts without special tokens, always the same ones."""
    chance = random.Random(20260101)
    mixed = tuple(_mixture(chance) for _ in range(160))
    return (*_SENTENCES, *_MARKED, *mixed)


def _mixture(chance: random.Random) -> str:
    parts = []
    for _ in range(chance.randint(3, 12)):
        pool = chance.choice(_POOLS)
        parts.append("".join(chance.choice(pool) for _ in range(chance.randint(1, 6))))
    return "".join(parts)


def chat_texts(special: Sequence[str]) -> tuple[str, ...]:
    """Texts that begin with one of the special tokens and have more of them inside."""
    texts = []
    for position, token in enumerate(special):
        following = special[(position + 1) % len(special)]
        sentence = _SENTENCES[position % len(_SENTENCES)]
        texts.append(f"{token}user\n{sentence}{following}\n{token}assistant\n")
        texts.append(f"{token} {sentence} {following}")
        texts.append(f"{token}\n{sentence}\n{following}\n\n")
    if special:
        texts += [f"{special[0]}{text}" for text in plain_texts()]
    return tuple(texts)
