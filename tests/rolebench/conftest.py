"""RoleBench rows: real ones from ../shared where they are, a few of our own everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekit.rolebench.rows import write_rows

SHARED = Path(__file__).parents[3] / "shared" / "data" / "rolebench"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real RoleBench rows; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no RoleBench rows at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def english(shared: Path) -> Path:
    """The English role-specific test set, with RoleGPT's baseline beside it."""
    return shared / "rolebench-eng" / "instruction-generalization" / "role_specific"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder in RoleBench's layout: two roles, both kinds, train and test, dirt as in the real rows."""
    folder = tmp_path / "small"
    specific = [
        {"role": "Ada", "question": " Ada, who was your father?", "generated": [" Lord Byron, the poet."]},
        {"role": "Ada", "question": "Ada, who was your father? ", "generated": ["Byron. I never knew him."]},
        {"role": "Ada", "question": "Ada, what is the engine?", "generated": ["A loom for algebra."]},
        {"role": "Nemo", "question": "Nemo, where is your ship?", "generated": ["Under the sea.", "Below."]},
        {"role": "Nemo", "question": "Nemo, whom do you hate?", "generated": ["As an AI, I hate no one."]},
    ]
    types = ["script_based", ["script_agnostic"], "script_based", ["script_based", "script_agnostic"], None]
    write_rows(
        folder / "rolebench-eng" / "role_specific" / "test.jsonl",
        [row | ({"type": kind} if kind else {}) for row, kind in zip(specific, types, strict=True)],
    )
    general = [
        {"role": "Ada", "question": "Name a colour.\n", "generated": ["Indigo, sir.", "Blue as a proof."]},
        {"role": "Nemo", "question": "Name a colour.\n", "generated": ["The black of the deep."]},
        {"role": "Nemo", "question": "Count to three.", "generated": ["One, two, three fathoms."]},
    ]
    write_rows(folder / "rolebench-eng" / "general" / "test.jsonl", general)
    train = [
        {"role": "Ada", "question": "Count to three.", "generated": ["One and two make three."]},
        {"role": "Nemo", "question": "Count to three. ", "generated": ["Three bells."]},
        {"role": "Nemo", "question": "Say hello.", "generated": ["Welcome aboard."]},
    ]
    write_rows(folder / "rolebench-eng" / "general" / "train.jsonl", train)
    return folder


@pytest.fixture
def answers(tmp_path: Path, small: Path) -> Path:
    """Answers to the small set in our own rows: one empty, one to nothing, one of an unknown role, one missing."""
    rows = [
        {
            "role": "Ada",
            "question": " Ada, who was your father?",
            "answer": "The poet Lord Byron was my father.",
        },
        {"role": "Ada", "question": "Ada, what is the engine?", "answer": ""},
        {"role": "Nemo", "question": "Nemo, where is your ship?", "answer": "Below the sea."},
        {"role": "Nemo", "question": "Nemo, whom do you hate?", "answer": "A nation."},
        {"role": "Ada", "question": "Name a colour.", "answer": "Blue."},
        {"role": "Nemo", "question": "Name a colour.\n", "answer": "The black of the deep."},
        {"role": "Nemo", "question": "What is love?", "answer": "Salt."},
        {"role": "Zorro", "question": "Name a colour.\n", "answer": "Black."},
    ]
    write_rows(tmp_path / "answers.jsonl", rows)
    return tmp_path / "answers.jsonl"
