"""Rows to train on in tests."""

import numpy as np

from mixing_buddy import prompts
from mixing_buddy.flaws import Category
from mixing_buddy.rendering import POWER_BLOCK
from mixing_buddy.stems import STEMS


def sample_rows(count: int = 8) -> list[dict]:
    """Rows whose answers can only be told by ear: a tone of another pitch for each, in noise."""
    rng = np.random.default_rng(0)
    choices = [
        (Category.VERY_QUIET, "vocals", "drums"),
        (Category.LOUD, "bass", "drums"),
        (Category.NO_ERROR, "bass", "vocals"),
        (Category.VERY_LOUD, "drums", "bass"),
    ]
    rows = []
    for index in range(count):
        category, target, anchor = choices[index % len(choices)]
        tone = np.sin(2 * np.pi * 200 * 1.5**index * np.arange(48_000) / 24_000)
        clip = tone + 0.1 * rng.standard_normal(48_000)
        powers = rng.random((48_000 // POWER_BLOCK, len(STEMS))) * [0.5, 0.1, 0.01, 0.4]
        rows.append(
            {
                "clips": [clip.astype(np.float32)],
                "instruction": "Which stem is off?",
                "response": prompts.response(index, category, target=target, anchor=anchor),
                "stem_powers": [powers.astype(np.float32)],
            }
        )
    return rows


def as_rendered(batch: dict) -> dict:
    """What `RenderTransform` does of interest here: numbers as arrays."""
    arrays = {
        column: [[np.asarray(part, dtype=np.float32) for part in parts] for parts in batch[column]]
        for column in ("clips", "stem_powers")
    }
    return {**batch, **arrays}
