"""Rows to train on, rendered as they are read."""

from __future__ import annotations

from datasets import Dataset, IterableDataset, concatenate_datasets, get_dataset_split_names
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.rendering import RenderTransform, parse_sources
from mixing_buddy.rows import open_rows, spread
from mixing_buddy.training.arguments import AugmentationArguments, DataArguments
from mixing_buddy.training.augmentation import AugmentingTransform, EpochCallback, chunks_of
from mixing_buddy.training.checks import check_songs


def load_rows(
    args: DataArguments,
    split: str,
    max_rows: int | None = None,
    *,
    augmentation: AugmentationArguments | None = None,
    seed: int = 0,
) -> Dataset:
    """Load one split of recipes with a transform that renders their audio when read.

    Args:
        args: where rows and songs are.
        split: name of the split.
        max_rows: keep this many rows, evenly spread over the split; all if None.
        augmentation: how to change samples from epoch to epoch; None leaves them as they are.
        seed: what augmentation draws from.

    Returns:
        A dataset whose rows gain ``clips``, arrays of shape `(num_samples,)`.

    Raises:
        MixingBuddyError: there is no such dataset, none has the split, or songs are missing.
    """
    # Columns that only some configs have are null in the rows of the others.
    rows = spread(concatenate_datasets(open_parts(args, split)), max_rows)
    check_songs(rows, RenderTransform(parse_sources(args.songs)))
    return rows.with_transform(row_transform(args, augmentation, seed=seed, rows=rows))


def row_transform(
    args: DataArguments,
    augmentation: AugmentationArguments | None,
    *,
    seed: int,
    rows: Dataset | None = None,
) -> RenderTransform:
    """Return what renders rows when they are read.

    Args:
        args: where the songs are.
        augmentation: how to change samples from epoch to epoch; None leaves them as they are.
        seed: what augmentation draws from.
        rows: all rows, from whose chunks augmentation may take stems; None where they stream.
    """
    sources = parse_sources(args.songs)
    if augmentation is None or not augmentation.any:
        return RenderTransform(sources, stem_dtype=args.stem_dtype)
    return AugmentingTransform(
        sources,
        augmentation,
        seed=seed,
        chunks=() if rows is None else chunks_of(rows),
        stem_dtype=args.stem_dtype,
    )


def validation_rows(args: DataArguments, training_args: TrainingArguments) -> Dataset | None:
    """Load the rows whose loss is validated; None where nothing is.

    Raises:
        MixingBuddyError: see `load_rows`.
    """
    if training_args.eval_strategy == IntervalStrategy.NO:
        return None
    return load_rows(args, args.eval_split, args.max_eval_rows)


def open_parts(args: DataArguments, split: str) -> list[Dataset]:
    """Open one split of every config of every dataset, each with the share of its rows to use.

    Raises:
        MixingBuddyError: see `find_places` and `config_shares`.
    """
    shares = config_shares(args)
    parts = []
    for dataset, config, its_split in find_places(args, split):
        part = open_rows(dataset, config, its_split)
        parts.append(spread(part, max(1, round(shares[config] * len(part)))))
    return parts


def find_places(args: DataArguments, split: str) -> list[tuple[str, str, str]]:
    """List dataset, config and split of everything that has the split.

    Raises:
        MixingBuddyError: there is no such dataset, or none has the split.
    """
    places = [
        (dataset, config, split)
        for dataset in args.dataset
        for config in args.dataset_config
        if split in _list_splits(dataset, config)
    ]
    if not places:
        raise MixingBuddyError(
            f"No split {split!r} in {', '.join(args.dataset)} (config "
            f"{', '.join(args.dataset_config)}). A dataset has the splits that its songs have; "
            "without validation songs, train with --eval_strategy no."
        )
    return places


def config_shares(args: DataArguments) -> dict[str, float]:
    """Return which share of its rows is used of each config.

    Raises:
        MixingBuddyError: another number of shares than configs, one out of range, or shares of
            rows that are streamed, whose number is not known.
    """
    shares = args.dataset_config_share
    if not shares:
        return dict.fromkeys(args.dataset_config, 1.0)
    if len(shares) != len(args.dataset_config):
        raise MixingBuddyError(
            f"dataset_config_share has {len(shares)} values for {len(args.dataset_config)} configs "
            f"({', '.join(args.dataset_config)}): give one for each."
        )
    if not all(0 < share <= 1 for share in shares):
        raise MixingBuddyError(
            f"dataset_config_share is {shares}: give numbers above 0, up to 1 for all rows."
        )
    if args.streaming:
        raise MixingBuddyError(
            "dataset_config_share needs rows that can be counted before training: not a stream."
        )
    return dict(zip(args.dataset_config, shares, strict=True))


def row_callbacks(rows) -> list[TrainerCallback]:
    """Return the callbacks that augmented rows need: they are told which epoch begins."""
    if isinstance(rows, IterableDataset):
        # Streamed rows know their pass.
        return []
    transform = rows.format["format_kwargs"]["transform"]
    return [EpochCallback(transform)] if isinstance(transform, AugmentingTransform) else []


def _list_splits(dataset: str, config: str) -> list[str]:
    try:
        return get_dataset_split_names(dataset, config)
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise MixingBuddyError(f"{dataset}: {config} can't be opened: {error}") from error
