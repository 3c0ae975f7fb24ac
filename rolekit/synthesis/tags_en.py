"""English: what stands beside a quotation and says whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_VERBS = (
    "said|says|say|asked|asks|ask|replied|replies|answered|answers|cried|cries|called|calls|shouted|shouts|whispered|"
    "whispers|muttered|mutters|murmured|murmurs|exclaimed|returned|continued|continues|went on|goes on|added|adds|"
    "began|repeated|repeats|remarked|observed|declared|demanded|inquired|enquired|insisted|insists|admitted|agreed|"
    "agrees|announced|sighed|laughed|grumbled|growled|snapped|sang|hissed|groaned|protested|interrupted|suggested|"
    "explained|explains|offered|promised|told|tells|warned|wondered aloud|bellowed|roared|yelled|screamed|gasped|"
    "sobbed|breathed|mumbled|stammered|retorted|rejoined|responded|urged|begged|pleaded|ordered|commanded|corrected|"
    "confessed|concluded|conceded|countered|finished|croaked|chuckled|grunted|joked|mused|noted|objected|"
    "pointed out|prompted|quoted|reminded|reported|scolded|sniffed|snorted|stated|swore|teased|chimed in|purred|"
    "put in|broke in|burst out|called out|cried out|called back|wrote|recited|read|greeted|allowed|ventured"
)
_ADVERB = r"(?:(?:\w+ly|then|only|just|at last|at once|again|softly|quickly|merely|always|finally|still) )?"
_TITLE = r"(?:(?:Mr|Mrs|Ms|Dr|St)\.? |(?:Sir|Lord|Lady|Miss|Madam|Captain|Doctor|Professor|Aunt|Uncle|Old|Young|Little|Father|Mother|Brother|Sister|King|Queen|Prince|Princess|Count|Colonel|Major|Inspector) )?"
_CAP = r"[A-ZÀ-ÖØ-Þ][\w'’-]*[\w]"
NAME = rf"{_TITLE}{_CAP}(?: (?:(?:of|de|von|van|the|du|la) )?{_CAP}){{0,2}}"
PRONOUN = r"(?:he|she|I|they|we)"
NOMINAL = r"(?:the|an?|my|his|her|their|our) (?:[a-z][\w'’-]* ){0,2}?[a-z][\w'’-]*"
_WHOLE_NOMINAL = rf"{NOMINAL}(?=[.,;:!?—–]|$| (?:to|at|with|in|from|and|as|who|when|without|after|behind|over|on|by|for|through)\b)"
_SUBJECT = rf"(?P<subject>{PRONOUN}\b|{NAME}|{NOMINAL})"
_TO = rf"(?: (?:to|at) (?P<to>{NAME}|him|her|me|them|us))?"
_AFTER_INVERTED = re.compile(
    rf"\s*,?\s*(?:{_VERBS})\b(?: (?:out|back|on|up))? {_ADVERB}(?P<subject>{PRONOUN}\b|{NAME}|{_WHOLE_NOMINAL})\b{_TO}"
)
_AFTER_PLAIN = re.compile(
    rf"\s*,?\s*(?:and |but |then )?{_SUBJECT} {_ADVERB}(?:had |has |would |could only )?(?P<verb>{_VERBS})\b"
    rf"(?: (?P<object>{NAME}|him|her|me|them|us)\b)?{_TO}"
)
_LAST_SENTENCE = re.compile(r"[^.!?”\"]*$")
_BEFORE_VERB = re.compile(rf"\b(?P<verb>{_VERBS})\b", re.IGNORECASE)
_BEFORE_SUBJECT = re.compile(rf"(?:^|(?<=[\s,;—–]))(?P<subject>{PRONOUN}|{NAME}|(?i:{NOMINAL}))(?=[\s,])")
_LEADS = re.compile(r"[,:—–]\s*$")
_STARTERS = {
    "at", "then", "and", "but", "when", "so", "in", "on", "after", "before", "as", "once", "now", "for", "with", "from",
    "still", "there", "that", "this", "it", "what", "if", "yes", "no", "not", "by", "to", "of", "the", "a", "an",
    "finally", "suddenly", "again", "only", "his", "her", "my", "their", "our", "its", "all", "nobody", "somebody",
    "everyone", "someone", "while", "presently", "later", "outside", "inside", "nothing", "none", "i", "we", "they",
    "he", "she", "you", "even", "never", "perhaps", "well", "oh", "here", "where", "how", "why", "who", "down", "up",
}  # fmt: skip
_CONNECTOR = re.compile(r"(?:and|but|then|so|again|still,|at that,?|at this,?|at last,?) ", re.IGNORECASE)
_PRONOUN_FIRST = re.compile(r"(he|she|i)(?=[\s,'’])", re.IGNORECASE)
_PEOPLE = (
    r"man|woman|boy|girl|child|keeper|captain|doctor|teacher|soldier|sailor|baker|farmer|king|queen|prince|princess|lady|"
    r"gentleman|stranger|officer|driver|priest|judge|clerk|waiter|waitress|nurse|servant|guard|innkeeper|shopkeeper|"
    r"postman|policeman|fisherman|merchant|beggar|thief|witch|wizard|giant|lawyer|landlord|landlady|guest|visitor|"
    r"neighbour|neighbor|widow|inspector|sergeant|mayor|cook|maid|porter|miller|smith|lad|fellow|professor|colonel|major|"
    r"others?|voice|host|hostess|master|mistress|bishop|vicar|butler|gardener|barber|tailor|watchman|old one|first|second"
)
_SOMEBODY = re.compile(rf"(?:the|an?) (?:[a-z]+ ){{0,2}}?(?:{_PEOPLE})(?=[\s,'’]|$)", re.IGNORECASE)
_RELATION = re.compile(
    r"(?:his|her|my|their|our) (?:[a-z]+ ){0,2}(?:(?P<m>father|brother|son|uncle|husband|grandfather|nephew)"
    r"|(?P<f>mother|sister|daughter|aunt|wife|grandmother|niece))$",
    re.IGNORECASE,
)
_FULL = re.compile(NAME)
_RELATION_FIRST = re.compile(_RELATION.pattern.removesuffix("$") + r"(?=[\s,'’])", re.IGNORECASE)
_THIRD = {"him", "her", "me", "them", "us"}


@dataclass(frozen=True, slots=True)
class Tag:
    """Whose the quotation is, as the narration puts it: a name, a pronoun or `the keeper`."""

    subject: str
    to: str = ""
    """A name, where one is given."""


def tag_after(narration: str) -> Tag | None:
    """The tag with which the narration behind a quotation begins: `said Mara`, `he asked`, `the keeper said`."""
    head = narration[:120]
    for pattern in (_AFTER_INVERTED, _AFTER_PLAIN):
        if (found := pattern.match(head)) and (subject := _usable(found["subject"])):
            to = found["to"] or ""
            if pattern is _AFTER_PLAIN and found["object"]:
                to = found["object"]
            return Tag(subject, "" if to.lower() in _THIRD else to)
    return None


def tag_before(narration: str) -> Tag | None:
    """The tag with which the narration in front of a quotation ends: `Mara looked up and said,`."""
    if not _LEADS.search(narration):
        return None
    last = _LAST_SENTENCE.search(narration.rstrip()[-240:])
    sentence = last[0] if last else ""
    verbs = list(_BEFORE_VERB.finditer(sentence))
    if not verbs and not sentence.rstrip().endswith(":"):
        return None
    limit = verbs[-1].start() if verbs else len(sentence)
    subjects = [
        found
        for found in _BEFORE_SUBJECT.finditer(sentence[:limit].rstrip() + " ")
        if _usable(found["subject"])
    ]
    if not subjects:
        return None
    if not verbs:
        subjects = [
            found for found in subjects if found["subject"][0].isupper() or " " not in found["subject"]
        ]
        if not subjects:
            return None
    near = subjects[-1] if verbs and len(sentence[subjects[-1].end() : limit].split()) == 0 else subjects[0]
    tail = sentence[verbs[-1].end() :] if verbs else ""
    to = re.search(rf"^(?: to| at)? (?P<to>{NAME})", tail)
    return Tag(_usable(near["subject"]), to["to"] if to and _usable(to["to"]) else "")


def sentence_subjects(narration: str, names: re.Pattern[str] | None) -> list[str]:
    """Whom each sentence begins with, where that is a pronoun or one of the names: what the paragraph tells of."""
    found: list[str] = []
    for sentence in re.split(r"(?<=[.!?;])\s+", narration.strip(" ,;—–")):
        start = _CONNECTOR.match(sentence)
        rest = sentence[start.end() if start else 0 :]
        if pronoun := _PRONOUN_FIRST.match(rest):
            found.append("I" if pronoun[1] == "I" else pronoun[1].lower())
        elif nominal := _SOMEBODY.match(rest):
            found.append(re.sub(r"^an? ", "the ", nominal[0].lower()))
        elif relation := _RELATION_FIRST.match(rest):
            found.append(relation[0].lower())
        elif names and (name := names.match(rest) or names.match(rest[:1].lower() + rest[1:])):
            found.append(name[0])
    return found


def _usable(subject: str) -> str:
    """The subject without a capitalised word that only begins the sentence; empty where nothing is left."""
    if subject.lower() in ("he", "she", "they", "we", "i"):
        return "I" if subject == "I" else subject.lower()
    words = subject.split()
    if words[0].lower() in ("the", "a", "an", "my", "his", "her", "their", "our") and words[-1][0].islower():
        return subject[0].lower() + subject[1:]
    while words and words[0].lower() in _STARTERS:
        words = words[1:]
    return " ".join(words)


def full_names(narration: str, known: Iterable[str]) -> list[str]:
    """Longer names that hold a known one: Tobias Fenn, where Tobias is known; Mr Fenn is one of Fenn."""
    parts = {word for name in known for word in name.split() if word[:1].isupper()}
    found = (_usable(match[0]) for match in _FULL.finditer(narration))
    return [name for name in found if " " in name and parts & set(name.split())]


def gender_of(subject: str) -> str | None:
    """m or f of a pronoun or of `his sister`, empty for I; None for a name."""
    if relation := _RELATION.match(subject):
        return "m" if relation["m"] else "f"
    return {"he": "m", "she": "f", "I": "", "they": "they", "we": "we"}.get(subject)


def is_somebody(name: str) -> bool:
    """Whether a name is capitalised, or a word for a person with its article."""
    return name[:1].isupper() or bool(_SOMEBODY.fullmatch(name))
