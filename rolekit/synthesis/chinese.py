"""Chinese: 小满说：“…”, “…”老陈笑道, 他对小满说; names are found by where they stand, for nothing parts the words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rolekit.synthesis.cast import MOST_NAMES
from rolekit.synthesis.speeches import Passage
from rolekit.synthesis.tags_en import Tag
from rolekit.synthesis.tongues import set_off

_VERBS = (
    "说道|笑道|问道|答道|喊道|叫道|骂道|叹道|哭道|喝道|嚷道|应道|怒道|奇道|急道|忙道|低声道|大声道|冷笑道|回答道|补充道|解释道|嘀咕道|"
    "嘟囔道|吩咐道|接着说|继续说|回答说|告诉|回答|反问|追问|嘀咕|嘟囔|吩咐|应声|开口|插嘴|补充|解释|念叨|嚷嚷|喃喃|质问|安慰|提醒|劝道|"
    "接话|打断|说|道|问|答|喊|叫|嚷|骂|念|唱|叹|劝|笑"
)
_VERB = rf"(?:{_VERBS})"
_MANNER = (
    r"(?:(?:[\u4e00-\u9fff]{1,6}地)|低声|大声|小声|轻声|柔声|高声|连声|齐声|忙|连忙|急忙|赶紧|便|又|也|就|才|却|只|只好|于是|接着|继续|"
    r"笑着|笑|哭着|叹着气|喘着气|摇着头|点着头|冷冷|淡淡|轻轻|慢慢|缓缓|悄悄|终于|忽然|突然|立刻|马上|最后|这才|还|再|一边|微笑着|回头|"
    r"抬头|低头|冷笑|苦笑|微笑|一本正经|不耐烦)*"
)
_TOWARDS = r"(?:对着|朝着|冲着|向着|对|向|朝|冲|跟|和|问|告诉|给|劝|提醒|安慰)"
_LISTENER = rf"(?:{_TOWARDS}(?P<to>[\u4e00-\u9fff·]{{1,6}}?))?"
_PRONOUNS = {"他": "m", "她": "f", "我": ""}
_NOT_IN_NAMES = set(
    "的了着这那不有是又也就都便才却还把被给让使在从到对向朝和跟与说道问答笑喊叫想看听着吧呢吗啊你我他她它们谁什么怎哪一个人家心里话声只没很去来会能要以而且"
)
_SURNAMES = set(
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏水窦章云苏潘葛奚范彭郎鲁韦昌马苗凤花方俞任袁柳鲍史唐"
    "费廉岑薛雷贺倪汤滕殷罗毕郝邬安常乐于时傅皮卞齐康伍余元卜顾孟平黄穆萧尹姚邵汪祁毛禹狄米贝明臧计伏成戴谈宋茅庞熊纪舒屈项祝董梁杜阮蓝"
    "闵席季麻强贾路娄危江童颜郭梅盛林刁钟徐邱骆高夏蔡田樊胡凌霍虞万支柯管卢莫房裘缪解应宗丁宣邓郁单杭洪包诸左石崔吉龚程邢裴陆荣翁荀"
    "甄曲封储靳段富巫乌焦巴弓牧山谷车侯全班仰秋仲伊宫宁仇栾甘厉戎祖武符刘景詹束龙叶幸司黎薄印白蒲从索赖卓蔺屠蒙池乔闻党翟谭贡劳姬申扶堵冉"
    "宰郦雍桑桂牛寿通边燕冀浦尚温庄晏柴瞿阎充慕连茹习艾鱼容向古易慎戈廖庾终居衡步都耿满弘匡国文寇广禄阙东欧沃利蔚越隆师巩聂晁"
)
_TITLE_END = re.compile(
    r"(?:先生|太太|姑娘|掌柜|师父|师傅|老爷|公子|大人|婆婆|奶奶|爷爷|大爷|大娘|大叔|大婶|阿姨|叔叔|老板|老人|老头|和尚|道士|将军|医生|老师|校长|"
    r"船长|少年|少女|女孩|男孩|孩子|妇人|书生|小姐|夫人|嫂|哥|姐|弟|妹|爹|娘|妈|爸|伯|叔|婶|姨)$"
)
_NAME_TAG = re.compile(
    rf"(?:^|[。！？；，、\s”」』…])(?P<subject>[\u4e00-\u9fff·]{{1,6}}?){_MANNER}{_LISTENER}{_MANNER}{_VERB}(?:了|着|了一句|了一声)?\s*(?:[：:，,。！？]|$)"
)
_AFTER = re.compile(
    rf"\s*[，,]?\s*(?P<subject>[\u4e00-\u9fff·]{{1,8}}?){_MANNER}{_LISTENER}{_MANNER}{_VERB}(?:了|着)?[^，。：:！？]{{0,8}}(?:[，。：:！？]|$)"
)
_CLAUSES = re.compile(r"[，,；;]")
_SENTENCES = re.compile(r"[。！？!?…]+")
_TO = re.compile(rf"{_TOWARDS}(?P<to>[\u4e00-\u9fff·]{{2,6}})")
_ENDS = re.compile(rf"{_VERB}(?:了|着|一声|一句|了一声|了一句)?[^，。：:]{{0,6}}\s*[：:，,]\s*$")


_SIMPLE = str.maketrans(
    "說問罵嘆勸應補釋開斷訴復質聲衝對給頭還過著後卻這從連趕邊兩個劉陳張趙孫吳鄭馮蔣韓楊許呂華嚴魏鄒賈羅齊顧黃蕭譚龐紀強顏駱萬盧鄧單陸榮寧龍葉喬聞錢嬸爺媽們",
    "说问骂叹劝应补释开断诉复质声冲对给头还过着后却这从连赶边两个刘陈张赵孙吴郑冯蒋韩杨许吕华严魏邹贾罗齐顾黄萧谭庞纪强颜骆万卢邓单陆荣宁龙叶乔闻钱婶爷妈们",
)
"""Traditional characters that the rules name; one for one, so that places stay."""
_WORDS = """
    于是 时候 明天 白天 高兴 马上 后来 安静 方才 平时 水面 顺着 向来 经过 万一 单是 应该 都是 连忙 常常
    时间 路上 别人 全都 元来 白白
    和他 成了 房里 房间 古人 石头 柳树 花园 云彩 雷声 金色 江水 山上 石阶 高处 明明 满天 古怪 易怒 温和 宁可 支起 项上 童年 干脆
    小心 小时 老实 老是 小声 小的 阿呀 老天 老远 小路 小屋 小巷 老街 小院
"""
_NO_NAMES = frozenset(_WORDS.split())
"""Words that begin as a name does."""


class Chinese:
    """Tags whose names are known: those that the text uses as speakers at least twice, or that look like names."""

    def __init__(self, passages: Sequence[Passage], given: Sequence[str]) -> None:
        """passages: the whole text, where names are learned; given: names that are known anyway."""
        counts: Counter[str] = Counter()
        for passage in passages:
            for speech in passage.speeches:
                after = _SENTENCES.split(_plain(speech.after), maxsplit=1)[0]
                found = _AFTER.match(after + "。")
                counts.update([found["subject"]] if found else [])
                sentence = _last_sentence(_plain(speech.before))
                counts.update(
                    found["subject"] for found in _NAME_TAG.finditer(sentence) if _ENDS.search(sentence)
                )
        often = counts.most_common(MOST_NAMES)
        names = {name for name, times in often if _is_name(name, times)} | set(
            _beginnings(passages)[:MOST_NAMES]
        )
        given_plain = {_plain(name) for name in given if name}
        self.known = sorted({*names, *given_plain}, key=lambda name: (-len(name), name))
        self._written = _spellings(passages, self.known) | {_plain(name): name for name in given}

    def tag_after(self, narration: str) -> Tag | None:
        """As Tongue says: 老陈说。, 他笑道，"""
        head = _SENTENCES.split(_plain(narration).lstrip(" ，,"), maxsplit=1)[0]
        clause = _CLAUSES.split(head, maxsplit=1)[0]
        if not re.search(rf"{_VERB}(?:了|着|一声|一句)?[^，。：:]{{0,8}}[：:]?\s*$", clause):
            return None
        subject = self._leading(clause)
        return self._tag(subject, self._listener(clause, subject)) if subject else None

    def tag_before(self, narration: str) -> Tag | None:
        """As Tongue says: 老陈叹了口气，对小满说："""
        narration = _plain(narration)
        sentence = _last_sentence(narration)
        if not (narration.rstrip().endswith(("：", ":")) or _ENDS.search(narration)):
            return None
        clauses = [clause for clause in _CLAUSES.split(sentence) if clause.strip()]
        listener = ""
        for clause in reversed(clauses):
            subject = self._leading(clause)
            listener = listener or self._listener(clause, subject)
            if subject:
                return self._tag(subject, listener if listener != subject else "")
        return None

    def _tag(self, subject: str, listener: str) -> Tag:
        """The tag with its names as the text writes them."""
        return Tag(self._written.get(subject, subject), self._written.get(listener, listener))

    def subjects(self, narration: str, names: re.Pattern[str] | None) -> list[str]:
        """As Tongue says."""
        sentences = [sentence.strip(" ，,”」") for sentence in _SENTENCES.split(_plain(narration))]
        found = [subject for sentence in sentences if (subject := self._leading(sentence))]
        return [self._written.get(subject, subject) for subject in found]

    def gender(self, subject: str) -> str | None:
        """As Tongue says."""
        return _PRONOUNS.get(subject)

    def can_speak(self, name: str) -> bool:
        """Every name has been looked at already."""
        return True

    def full_names(self, narration: str, known: Iterable[str]) -> list[str]:
        """Names with one of the surnames in front of a known one: 林小满."""
        found = (
            re.finditer(rf"[\u4e00-\u9fff]{re.escape(name)}", narration)
            for name in known
            if len(name) == 2 and _plain(name[0]) not in _SURNAMES
        )
        return [match[0] for matches in found for match in matches if match[0][0] in _SURNAMES]

    def called(self, words: str, names: re.Pattern[str] | None) -> list[str]:
        """As Tongue says."""
        return set_off(words, names)

    def _leading(self, clause: str) -> str:
        """The name or pronoun that a clause begins with, perhaps behind an adverb or a short phrase."""
        clause = clause.strip(" \u3000：:，,“”「」")
        found = [
            (place, name)
            for name in self.known
            if (place := clause.find(name)) >= 0
            and not re.search(rf"{_TOWARDS}$|[把被让使]$", clause[:place])
        ]
        found += [
            (place, pronoun)
            for pronoun in _PRONOUNS
            if (place := clause.find(pronoun)) >= 0
            and clause[place + 1 : place + 2] not in ("们", "的")
            and not re.search(rf"{_TOWARDS}$|[把被让使]$", clause[:place])
        ]
        if not found:
            return ""
        place, name = min(found, key=lambda pair: (pair[0], -len(pair[1])))
        return name if place <= 6 else ""

    def _listener(self, clause: str, subject: str) -> str:
        rest = clause[clause.find(subject) + len(subject) :] if subject else clause
        found = _TO.search(rest)
        return next((name for name in self.known if found and found["to"].startswith(name)), "")


def _plain(text: str) -> str:
    return text.translate(_SIMPLE)


def _beginnings(passages: Sequence[Passage]) -> list[str]:
    """Names that sentences begin with: a surname or 老, 小, 阿 and what always follows, at least twice, once by a speech."""
    starts: Counter[str] = Counter()
    near: set[str] = set()
    for passage in passages:
        for clause in re.split(r"[。！？；…，、：“”「」『』\s]+", _plain(passage.narration)):
            if clause[:1] in _SURNAMES or clause[:1] in "老小阿":
                heads = [clause[:length] for length in (2, 3) if len(clause) >= length]
                starts.update(heads)
                near.update(heads if passage.speeches else [])
    most: dict[str, str] = {}
    for head, _ in starts.most_common():
        if len(head) == 3:
            most.setdefault(head[:2], head)
    found: set[str] = set()
    for head, times in list(starts.items()):
        if len(head) == 2:
            three = most.get(head, "")
            head = three if times > 1 and starts[three] >= 0.8 * times else head
        if (
            starts[head] > 1
            and head in near
            and head[:2] not in _NO_NAMES
            and not set(head[1:]) & _NOT_IN_NAMES
        ):
            found.add(head)
    shorter = {head[:2] for head in found if len(head) > 2}
    return sorted(found - shorter, key=lambda head: (-starts[head], head))


def _spellings(passages: Sequence[Passage], names: Sequence[str]) -> dict[str, str]:
    """How the text writes names that were looked for in simplified characters."""
    whole = "\n".join(passage.paragraph.text for passage in passages)
    plain = _plain(whole)
    return {name: whole[at : at + len(name)] for name in names if (at := plain.find(name)) >= 0}


def _last_sentence(narration: str) -> str:
    parts = [part for part in _SENTENCES.split(narration) if part.strip()]
    return parts[-1] if parts else ""


def _is_name(name: str, times: int) -> bool:
    if not 1 < len(name) <= 5 or name in _PRONOUNS or set(name) & _NOT_IN_NAMES - set("一个人家水满来"):
        return False
    if set(name[1:]) & set("了着的说道"):
        return False
    looks_like_one = (
        (name[0] in _SURNAMES and len(name) <= 3) or name[0] in "老小阿" or bool(_TITLE_END.search(name))
    )
    return times > 2 or looks_like_one
