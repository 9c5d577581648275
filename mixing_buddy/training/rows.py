"""Rows to train on, rendered as they are read."""

from __future__ import annotations

from datasets import Dataset, concatenate_datasets, get_dataset_split_names

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.rendering import RenderTransform, parse_sources
from mixing_buddy.rows import open_rows, spread
from mixing_buddy.training.arguments import DataArguments


def load_rows(args: DataArguments, split: str, max_rows: int | None = None) -> Dataset:
    """Load one split of recipes with a transform that renders their audio when read.

    Args:
        args: where rows and songs are.
        split: name of the split.
        max_rows: keep this many rows, evenly spread over the split; all if None.

    Returns:
        A dataset whose rows gain ``clips``, arrays of shape `(num_samples,)`.

    Raises:
        MixingBuddyError: if none of the data sets has the split.
    """
    config = args.dataset_config
    parts = [
        open_rows(dataset, config, split)
        for dataset in args.dataset
        if split in get_dataset_split_names(dataset, config)
    ]
    if not parts:
        raise MixingBuddyError(f"No split {split!r} in {', '.join(args.dataset)}.")
    rows = concatenate_datasets(parts)
    return spread(rows, max_rows).with_transform(RenderTransform(parse_sources(args.songs)))
