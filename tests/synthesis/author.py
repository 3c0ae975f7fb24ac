"""A scripted author: reads each request as a model would and writes what was asked for, in three languages.

Good rows and, at known places, every fault that the rules are there for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from rolekit.roles.role import Example, Role
from rolekit.synthesis.segments import Segment

MIRA = Role(
    name="Mira Holt",
    aliases=("Mira",),
    description="You are Mira Holt, keeper of the harbour light, blunt and dry, never in a hurry.",
    catchphrases=("The lamp does not ask.",),
    facts=("You keep the lighthouse.",),
    examples=tuple(
        Example(user=f"What about the {thing}?", reply=f"The {thing} stays where it is.")
        for thing in ("boat", "lamp", "storm", "rope", "tide", "ladder")
    ),
)
SEGMENTS = [
    Segment(
        f"story-{n:03}",
        f"Mira Holt walked to the {place}. She said: I never lend my {thing} to anybody. The wind came from the sea.",
        "story.txt", 10 * n, 10 * n + 3, ("Mira Holt",),
    )
    for n, (place, thing) in enumerate([("lighthouse", "boat"), ("market", "knife"), ("chapel", "coat")], start=1)
]  # fmt: skip


WORDS = {
    "en": [
        "lantern",
        "harbour",
        "winter",
        "brother",
        "ledger",
        "violin",
        "orchard",
        "letter",
        "captain",
        "bridge",
        "garden",
        "clock",
        "tunnel",
        "market",
        "feather",
        "anchor",
        "mirror",
        "candle",
        "window",
        "river",
        "stable",
        "hammer",
        "ribbon",
        "compass",
        "kettle",
        "meadow",
        "barrel",
        "thunder",
    ],
    "zh": [
        "灯笼",
        "码头",
        "冬天",
        "兄弟",
        "账本",
        "琴",
        "果园",
        "书信",
        "船长",
        "石桥",
        "花园",
        "时钟",
        "山洞",
        "集市",
        "羽毛",
        "铁锚",
        "镜子",
        "蜡烛",
        "窗子",
        "大江",
        "马厩",
        "铁锤",
    ],
    "de": [
        "Laterne",
        "Hafen",
        "Winter",
        "Bruder",
        "Kassenbuch",
        "Geige",
        "Garten",
        "Brief",
        "Kapitän",
        "Brücke",
        "Uhr",
        "Tunnel",
        "Markt",
        "Feder",
    ],
}
QUESTIONS = {
    "en": "Which memory do you keep of the {0} and the {1} near your {2}?",
    "zh": "你还记得{0}和{1}的事吗，它们同你的{2}有什么关系？",
    "de": "Welche Erinnerung hast du an {0} und {1} bei deinem {2}?",
}
ANSWERS = {
    "en": "I keep the {0} close, and the {1} too. Nobody took them from me, I gave them away.",
    "zh": "{0}我一直记着，{1}也是。那是我自己送出去的，没人抢得走。",
    "de": "Ich behalte {0} in Ehren, und {1} auch. Niemand nahm sie mir, ich gab sie her.",
}
UNKNOWING = {
    "en": "I have never heard of such a thing. Is it good to eat?",
    "zh": "我从没听说过这东西。能吃吗？",
    "de": "Das kenne ich nicht. Kann man das essen?",
}
REFUSING = {
    "en": "No, I will not do that. A harbour has eyes, and I have a conscience.",
    "zh": "不行，这种事我不能做。头上三尺有神明。",
    "de": "Nein. Ich werde das nicht tun, es ist unrecht.",
}


SPEECH = {
    "en": "The {0} was near the {1} then. {2}, {3}, {4}: that is what I think of, and the {5}. And your {6}?",
    "zh": "{0}那时就在{1}旁边。我想起的是{2}、{3}、{4}，还有{5}。你的{6}呢？",
    "de": "{0} und {1} waren nah. {2}, {3}, {4}: daran denke ich, und an {5}. Und dein {6}?",
}


class Author:
    """Answers requests; `written` counts how often each very same request came in."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self.written: Counter[str] = Counter()
        self.faults: dict[int, dict[str, str]] = {}
        """What the row of this number (over all triplet calls) says instead."""
        self.garbage = 0
        """So many triplet requests are answered with prose first."""
        self._rows = 0

    def __call__(self, body: dict[str, Any]) -> str:
        text = json.dumps([body["messages"], body.get("seed")], ensure_ascii=False)
        self.written[text] += 1
        fields = self._fields(body)
        if fields is None:
            return self._speech(text)
        if "in_role" in fields:
            numbers = re.findall(r"^(\d+)\.$", body["messages"][-1]["content"], re.MULTILINE)
            return json.dumps({"items": [self._opinion(int(number)) for number in numbers]})
        if self.garbage:
            self.garbage -= 1
            return "With pleasure! Here are the rows you asked for."
        last = body["messages"][1]["content"]  # also where it is asked again
        if "<request>" in last:
            row = {"question": f"{QUESTIONS[self.language].format(*self._three(text))}", "answer": ""}
            return json.dumps({"items": [row | {"answer": REFUSING[self.language]}]}, ensure_ascii=False)
        number = max(map(int, re.findall(r"(\d+)", last.rpartition("\n\n")[2])[:1] or ["3"]))
        rows = [self._row(fields, f"{text}{place}", last) for place in range(number)]
        return json.dumps({"items": rows}, ensure_ascii=False)

    def _fields(self, body: dict[str, Any]) -> dict[str, Any] | None:
        form = body.get("response_format")
        if not form:
            return None
        properties = form["json_schema"]["schema"]["properties"]
        return dict(properties["items"]["items"]["properties"] if "items" in properties else properties)

    def _row(self, fields: dict[str, Any], seed: str, last: str) -> dict[str, str]:
        self._rows += 1
        three = self._three(seed)
        row = {
            "question": QUESTIONS[self.language].format(*three),
            "rationale": "It can be answered.",
            "confidence": "high",
            "answer": ANSWERS[self.language].format(*three),
        }
        if "quote" in fields:
            segment = re.search(r"<segment>\n(.*?)\n</segment>", last, re.DOTALL)
            assert segment is not None
            row["quote"] = segment[1].split(". ")[0][:120]
        if "confidence" not in fields:
            row["answer"] = UNKNOWING[self.language]
        row |= self.faults.get(self._rows, {})
        return {name: row[name] for name in fields}

    def _speech(self, text: str) -> str:
        words = [word for part in range(3) for word in self._three(f"{text}{part}")]
        return SPEECH[self.language].format(*words)

    def _opinion(self, number: int) -> dict[str, Any]:
        good = number != 2
        return {
            "number": number,
            "complete": True,
            "factual": good,
            "in_role": True,
            "why": "" if good else "made up",
        }

    def _three(self, seed: str) -> list[str]:
        digest = hashlib.sha256(seed.encode()).digest()
        words = list(WORDS[self.language])
        return [words.pop(int.from_bytes(digest[2 * n : 2 * n + 2], "big") % len(words)) for n in range(3)]


def write_instructions(path: Path) -> Path:
    """Six instructions, one with plain answers, one too long, one twice."""
    rows = [
        {"instruction": "Name three things to take on a walk.", "output": "Water, bread, a coat."},
        {"instruction": "Explain why the sky is blue."},
        {"instruction": "Write a short poem about bread."},
        {"instruction": "What is the sum of four and nine?"},
        {"instruction": "Name three things to take on a walk!"},
        {"instruction": "word " * 130},
    ]
    path.write_text("".join(json.dumps({"output": "", **row}) + "\n" for row in rows))
    return path
