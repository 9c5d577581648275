"""Rows to train on in tests."""

import numpy as np

from mixing_buddy import prompts
from mixing_buddy.flaws import Category
from mixing_buddy.rendering import POWER_BLOCK
from mixing_buddy.stems import STEMS


def sample_rows(count: int = 8) -> list[dict]:
    """Rows whose answers can only be told by ear: noise of another colour for each."""
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
        spectrum = np.fft.rfft(rng.standard_normal(48_000)) / np.arange(1, 24_002) ** (index / 4)
        rows.append(
            {
                "clips": [np.fft.irfft(spectrum).astype(np.float32)],
                "instruction": "Which stem is off?",
                "response": prompts.response(index, category, target=target, anchor=anchor),
                "stem_powers": [rng.random((48_000 // POWER_BLOCK, len(STEMS)), np.float32)],
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
