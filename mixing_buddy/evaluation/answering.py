"""Asking a model about the rows of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def answer_rows(
    buddy,
    dataset: str,
    songs: Sequence[str],
    *,
    config: str = "single_mix",
    split: str = "test",
    prompt_category: str | None = None,
    limit: int | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ask a model about the rows of a data set, with a progress bar.

    Args:
        buddy: a ``MixingBuddy``.
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        songs: song folders as ROOT or NAME=ROOT.
        config: config of the data set, one that is graded by stem and direction.
        split: split to take rows from.
        prompt_category: take only rows whose prompts are of this kind; all if None.
        limit: how many rows, evenly spread over the split; all if None.

    Returns:
        The rows, without audio, and the answers.

    Raises:
        RecipeError: there is no such data set, or its answers name no single stem.
    """
    from tqdm.auto import tqdm

    from mixing_buddy.errors import RecipeError
    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rendering import RenderTransform, parse_sources
    from mixing_buddy.rows import open_rows, spread
    from mixing_buddy.schema import DIFFERENTIAL

    if config == DIFFERENTIAL:
        raise RecipeError(
            f"{dataset}: {config} asks for changes in dB, not for one stem and direction: it can't "
            "be graded this way. Choose single_mix or stems."
        )
    table = open_rows(dataset, config, split)
    if prompt_category is not None:
        kinds = decode_labels({"prompt_category": table["prompt_category"][:]})["prompt_category"]
        table = table.select([i for i, kind in enumerate(kinds) if kind == prompt_category])
    table = spread(table, limit)
    rows = [decode_labels(row) for row in table]
    rendered = table.with_transform(RenderTransform(parse_sources(songs)))
    answers: list[str] = []
    with tqdm(total=len(rows), desc="Asking", unit="row") as bar:
        for start in range(0, len(rows), buddy.batch_size):
            batch = rendered[start : start + buddy.batch_size]
            answers += buddy.answer(batch["clips"], batch["instruction"])
            bar.update(len(batch["clips"]))
    return rows, answers
