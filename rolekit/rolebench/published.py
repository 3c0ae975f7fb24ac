"""The paper's own figures (arXiv 2310.00746 v1, Tables 3 to 5), to stand beside ours where the scorer is `paper`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rolekit.rolebench.records import Record


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One system as the paper prints it; None where we do not have the figure."""

    system: str
    cus: float | None
    raw: float | None
    spe: float | None
    avg: float | None


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One of the paper's tables."""

    source: str
    rows: tuple[PublishedRow, ...]
    note: str = ""


ENGLISH_INSTRUCTIONS = PublishedTable(
    "arXiv 2310.00746 v1, Table 3: English, instruction generalization",
    (
        PublishedRow("RoleGPT (GPT-4)", 0.5764, 0.5322, 0.3229, 0.4772),
        PublishedRow("LLaMA 7B", 0.1291, 0.1232, 0.2553, 0.1692),
        PublishedRow("LLaMA-script 7B", 0.0832, 0.0509, 0.1081, 0.0807),
        PublishedRow("Alpaca 7B", 0.2423, 0.3529, 0.2695, 0.2882),
        PublishedRow("Vicuna", 0.2101, 0.2550, 0.2913, 0.2521),
        PublishedRow("RoleLLaMA 7B", 0.3294, 0.3755, 0.3814, 0.3621),
    ),
)
ENGLISH_ROLES = PublishedTable(
    "arXiv 2310.00746 v1, Table 5: English, role generalization",
    (
        PublishedRow("RoleGPT (GPT-4)", 0.6020, 0.5322, None, None),
        PublishedRow("LLaMA 7B", 0.1316, 0.1232, 0.2551, 0.1700),
        PublishedRow("Alpaca 7B", 0.2315, 0.3529, 0.2587, 0.2810),
        PublishedRow("Vicuna", 0.2082, 0.2550, 0.2775, 0.2469),
        PublishedRow("RoleLLaMA 7B", 0.4126, 0.4107, 0.2568, 0.3600),
    ),
    "The averages of LLaMA, Alpaca and Vicuna are recomputed: those that the paper prints do not match its columns.",
)
CHINESE = PublishedTable(
    "arXiv 2310.00746 v1, Table 4: Chinese, instruction generalization",
    (
        PublishedRow("RoleGPT (GPT-4)", 0.5368, 0.5748, None, None),
        PublishedRow("ChatGLM2 6B", 0.3938, 0.5060, 0.3099, 0.4032),
        PublishedRow("ChatGLM2-script 6B", 0.1401, 0.3066, 0.0915, 0.1794),
        PublishedRow("RoleGLM 6B", 0.5049, 0.5255, 0.3406, 0.4570),
    ),
    "Chinese CUS of the released baseline does not reproduce under any tried setting; read it with care.",
)


def published_for(records: Sequence[Record]) -> PublishedTable | None:
    """The table of the setting that the records come from; None when they mix settings or are not RoleBench's."""
    settings = {_setting(record) for record in records}
    return settings.pop() if len(settings) == 1 else None


def _setting(record: Record) -> PublishedTable | None:
    if "rolebench-zh" in record.origin:
        return CHINESE
    if "role-generalization" in record.origin:
        return ENGLISH_ROLES
    if "instruction-generalization" in record.origin:
        return ENGLISH_INSTRUCTIONS
    return None
