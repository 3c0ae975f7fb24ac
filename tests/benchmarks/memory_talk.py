"""Scripted long conversations for bench_memory.py: facts are planted, much else is said, and later they are asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

_NAMES = (
    "Clara", "Edith", "Harriet", "Oswald", "Rupert", "Winifred", "Ambrose", "Beatrix", "Cuthbert", "Dorothea",
    "Ernestine", "Felix", "Gideon", "Hortense", "Ignatius", "Josephine", "Leopold", "Mabel", "Percival", "Quentin",
)  # fmt: skip
_TOWNS = (
    "Lisbon", "Whitby", "Trieste", "Bruges", "Dundee", "Cadiz", "Lucca", "Bergen", "Salzburg", "Penzance",
    "Avignon", "Riga", "Toledo", "Galway", "Ghent", "Verona",
)  # fmt: skip
_THINGS = (
    "a brass telescope", "a red umbrella", "the ivory chess set", "a jar of honey", "the blue lantern", "a tin whistle",
    "an almanac", "a silver thimble", "the green ledger", "a pocket sundial",
)  # fmt: skip
_PLACES = (
    "the clock tower", "the fish market", "the north gate", "the old lighthouse", "the glass house", "the ferry landing",
    "the corn exchange", "the stone bridge",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TASTES = ("juniper", "saffron", "peppermint", "liquorice", "aniseed", "cinnamon", "rosemary", "camphor")
_FLOWERS = ("foxglove", "lavender", "marigold", "hyacinth", "primrose", "snowdrop")
_COLOURS = ("crimson", "turquoise", "ochre", "violet", "emerald", "indigo")
_NUMBERS = ("seventeen", "forty-two", "twenty-nine", "sixty-three", "eighty-one", "thirty-eight")

_ENGLISH = (
    ("name", "My sister is called {}; she married a sailor.", "Indeed.", "What is my sister called?", _NAMES),
    ("name", "We named our dog {}, and he answers to nobody.", "A free spirit.", "What is the name of our dog?", _NAMES),
    ("name", "The doctor who set my arm was old {}.", "A steady hand, then.", "Which doctor set my arm?", _NAMES),
    ("name", "My landlady, Mrs {}, hears everything.", "They all do.", "What is my landlady's name?", _NAMES),
    ("name", "I learned the violin from a Frenchman named {}.", "It shows.", "Who taught me the violin?", _NAMES),
    ("name", "My best friend at school was a boy named {}.", "And today?", "Who was my best friend at school?", _NAMES),
    ("name", "My grandfather's ship was the {}.", "A fine name.", "What was my grandfather's ship called?", _NAMES),
    ("promise", "Bring {} when you come on Sunday, do you promise?", "I promise.",
     "What did you promise to bring on Sunday?", _THINGS),
    ("promise", "After the concert, where shall I find you?", "I shall wait for you by {}, you have my word.",
     "Where did you say you would wait for me after the concert?", _PLACES),
    ("promise", "I promised my mother to write to her every {}.", "Then do.",
     "On which day do I have to write to my mother?", _DAYS),
    ("promise", "Can you keep something safe for me?", "I will keep {} in my desk until you ask for it, I swear.",
     "What are you keeping in your desk for me?", _THINGS),
    ("promise", "If I win the wager, I owe my cousin {}.", "Let us hope you lose.",
     "What do I owe my cousin if I win the wager?", _THINGS),
    ("promise", "Will you teach me something this winter?", "I will teach you to tell {} by its smell, that is a promise.",
     "What did you promise to teach me to tell by its smell?", _TASTES),
    ("place", "I grew up in {}, above a bakery.", "Hence the early rising.", "Where did I grow up?", _TOWNS),
    ("place", "We spent our honeymoon in {}; it rained all week.", "Charming.", "Where did we spend our honeymoon?", _TOWNS),
    ("place", "The spare key is hidden behind {}.", "I did not hear that.", "Where is the spare key hidden?", _PLACES),
    ("place", "My father lost his hat near {} and never went back.", "A loss.", "Where did my father lose his hat?", _PLACES),
    ("place", "The letter was posted in {}, by the stamp.", "Curious.", "Where was the letter posted?", _TOWNS),
    ("place", "When I retire I shall move to {}.", "You would be bored.", "Where shall I move when I retire?", _TOWNS),
    ("preference", "My favourite flower is the {}.", "A modest one.", "What is my favourite flower?", _FLOWERS),
    ("preference", "I cannot bear the smell of {}.", "Few can.", "Which smell can I not bear?", _TASTES),
    ("preference", "I always paint my doors {}.", "Always?", "In what colour do I paint my doors?", _COLOURS),
    ("preference", "I take {} in my tea, nothing else.", "I shall see to it.", "What do I take in my tea?", _TASTES),
    ("preference", "My lucky number is {}.", "Superstition.", "What is my lucky number?", _NUMBERS),
    ("preference", "Of all the days I like {} the least.", "Why so?", "Which of the days do I like the least?", _DAYS),
    ("preference", "For my birthday I should love to have {}.", "Noted.", "What should I love to have for my birthday?", _THINGS),
)  # fmt: skip
_TOPICS = (
    "the harbour", "winter", "the new railway", "beekeeping", "opera", "the price of coal", "chess", "old maps", "fog",
    "the museum", "cricket", "thunderstorms", "the morning papers", "pipe smoke", "magic lanterns", "the moon",
    "horse races", "cheap novels", "snow", "the zoo", "ghost stories", "Latin", "bicycles", "gardens",
)  # fmt: skip
_FORMS = (
    ("What do you think of {}?", "{}? One ought to look at it twice."),
    ("My neighbour is always talking of {}.", "Some men have nothing else."),
    ("Is {} your favourite subject?", "It is nobody's favourite, and mine least of all."),
    ("I read something about {} this morning.", "I trust it was short."),
    ("Promise me that we shall talk of {} again.", "Whenever you like."),
    ("Where would you go for {}?", "Not far; one finds it everywhere."),
    ("My brother says {} is a waste of time.", "Your brother is a busy man."),
    ("Do you remember the first time you heard of {}?", "Dimly. I was a boy."),
)

_ZH_NAMES = (
    "婉清",
    "子昂",
    "若兰",
    "景行",
    "墨白",
    "云舒",
    "怀瑾",
    "知秋",
    "慕青",
    "承安",
    "半夏",
    "远山",
    "听雨",
    "南星",
)
_ZH_TOWNS = ("苏州", "洛阳", "敦煌", "扬州", "大理", "泉州", "凤凰", "徽州", "阆中", "平遥")
_ZH_THINGS = (
    "一把折扇",
    "一坛桂花酒",
    "一盏琉璃灯",
    "一支玉箫",
    "一方端砚",
    "一包茶叶",
    "一只木匣",
    "一幅山水画",
)
_ZH_PLACES = ("钟楼下", "渡口边", "石桥上", "书院门口", "枫树林", "药铺后院", "城隍庙前")
_ZH_TASTES = ("薄荷", "花椒", "陈皮", "香菜", "芥末", "茴香", "芝麻")
_CHINESE = (
    ("name", "我妹妹名叫{}，嫁给了一个船夫。", "原来如此。", "我妹妹叫什么名字？", _ZH_NAMES),
    ("name", "我家的狗叫{}，谁的话都不听。", "倒有骨气。", "我家的狗叫什么？", _ZH_NAMES),
    ("name", "教我弹琴的师父叫{}。", "名师出高徒。", "教我弹琴的师父是谁？", _ZH_NAMES),
    ("name", "给我治伤的大夫叫{}。", "医术不错。", "给我治伤的大夫是哪一位？", _ZH_NAMES),
    ("name", "我的房东{}什么都听得见。", "隔墙有耳。", "我的房东叫什么名字？", _ZH_NAMES),
    ("name", "我小时候最好的玩伴是{}。", "如今呢？", "我小时候最好的玩伴是谁？", _ZH_NAMES),
    ("promise", "星期天来的时候带上{}，你答应吗？", "我答应。", "星期天你答应带什么来？", _ZH_THINGS),
    ("promise", "散戏之后我到哪里找你？", "散戏之后我在{}等你，一言为定。", "散戏之后你说在哪里等我？", _ZH_PLACES),
    ("promise", "能替我保管一样东西吗？", "我替你把{}锁在柜子里，绝不给别人。", "你替我锁在柜子里的是什么？", _ZH_THINGS),
    ("promise", "要是我赌输了，就欠表哥{}。", "但愿你赢。", "我赌输了要给表哥什么？", _ZH_THINGS),
    ("place", "我在{}长大，楼下是一间面馆。", "难怪起得早。", "我是在哪里长大的？", _ZH_TOWNS),
    ("place", "我们成亲那年去了{}，天天下雨。", "也有意思。", "我们成亲那年去了哪里？", _ZH_TOWNS),
    ("place", "备用的钥匙藏在{}。", "我没听见。", "备用的钥匙藏在哪里？", _ZH_PLACES),
    ("place", "父亲在{}丢了帽子，再没回去找。", "可惜。", "父亲的帽子丢在哪里了？", _ZH_PLACES),
    ("place", "等我老了，就搬到{}去住。", "你会闷的。", "等我老了要搬到哪里去住？", _ZH_TOWNS),
    ("preference", "我最受不了{}的味道。", "人各有好。", "我最受不了什么味道？", _ZH_TASTES),
    ("preference", "我喝茶只加{}。", "记下了。", "我喝茶的时候加什么？", _ZH_TASTES),
    ("preference", "我过生日最想要{}。", "记下了。", "我过生日最想要什么？", _ZH_THINGS),
)  # fmt: skip
_ZH_TOPICS = (
    "码头", "冬天", "新铁路", "养蜂", "唱戏", "煤价", "下棋", "旧地图", "大雾", "博物馆", "蹴鞠", "雷雨", "早报", "烟斗",
    "皮影", "月亮", "赛马", "小说", "下雪", "动物园", "鬼故事", "古文", "脚踏车", "花园",
)  # fmt: skip
_ZH_FORMS = (
    ("你觉得{}怎么样？", "{}？值得多看一眼。"),
    ("我的邻居老是说起{}。", "有的人只有这点话。"),
    ("你最喜欢{}吗？", "谁也不最喜欢它。"),
    ("今天早上我读到{}的事。", "想必不长。"),
    ("答应我，下次再聊{}。", "随时奉陪。"),
    ("要看{}该去哪里？", "不远，到处都有。"),
    ("我哥哥说{}是浪费时间。", "你哥哥是个忙人。"),
    ("你还记得第一次听说{}的时候吗？", "不太记得了，那时还小。"),
)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was said, and how it is asked for."""

    kind: str
    said: str
    """The very message that says it."""
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user says, and what a script answers."""

    user: str
    reply: str
    asks: Fact | None = None


def conversation(
    language: str, number: int, *, turns: int = 200, facts: int = 18, distance: int = 60
) -> list[Turn]:
    """The same conversation for the same arguments. Every fact is asked for once, at least distance turns later."""
    rng = random.Random(f"{language} {number}")
    kinds, topics, forms = (
        (_CHINESE, _ZH_TOPICS, _ZH_FORMS) if language == "zh" else (_ENGLISH, _TOPICS, _FORMS)
    )
    chosen = rng.sample(kinds, facts)
    plants = sorted(rng.sample(range(2, turns - distance - facts), facts))
    asked = _asked(rng, plants, turns, distance)
    talk = [
        _filler(topics, forms, index)
        for index in rng.sample(range(len(topics) * len(forms)), turns - 2 * facts)
    ]
    used: set[str] = set()
    found: dict[int, Turn] = {}
    for (kind, user, reply, question, pool), planted, asking in zip(chosen, plants, asked, strict=True):
        value = rng.choice([value for value in pool if value not in used])
        used.add(value)
        said = user.format(value), reply.format(value)
        fact = Fact(kind, said["{}" in reply], question, value)
        found[planted] = Turn(*said)
        found[asking] = Turn(question, "我想想。" if language == "zh" else "Let me think.", fact)
    fillers = iter(talk)
    return [found.get(number) or next(fillers) for number in range(turns)]


def _asked(rng: random.Random, plants: Sequence[int], turns: int, distance: int) -> list[int]:
    """A turn for each question, none twice."""
    taken = set(plants)
    chosen = []
    for planted in reversed(plants):
        turn = rng.choice([turn for turn in range(planted + distance, turns) if turn not in taken])
        taken.add(turn)
        chosen.append(turn)
    return chosen[::-1]


def _filler(topics: Sequence[str], forms: Sequence[tuple[str, str]], index: int) -> Turn:
    topic, (user, reply) = topics[index % len(topics)], forms[index // len(topics)]
    return Turn(user.format(topic), reply.format(topic[0].upper() + topic[1:]))
