"""Opening built datasets, with errors that say what is wrong."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets.distributed import split_dataset_by_node

from mixing_buddy.errors import RecipeError

#: Rows that `stream_rows` shuffles among: those of about 300 chunks in an enumeration.
SHUFFLE_BUFFER_ROWS = 10_000

#: What every row is made of, whatever its config.
_COLUMNS = ("uid", "source", "split", "song", "start_s", "duration_s", "instruction")

# Rows that are rendered at once; large enough to hide the cost of a call, small in memory.
_RENDERED_ROWS = 8


def open_rows(
    dataset: str | os.PathLike[str], config: str, split: str, *, streaming: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    """Open one split of a dataset.

    Args:
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        config: name of its config.
        split: name of its split.
        streaming: read rows as they are asked for, without a copy on disk.

    Raises:
        RecipeError: there is no such dataset, config or split, or it is damaged.
    """
    where = f"{dataset}: {config}, split {split!r}"
    with _refusing(where):
        rows = datasets.load_dataset(_place(dataset), config, split=split, streaming=streaming)
    _check_columns(rows, where)
    return rows


def open_splits(dataset: str | os.PathLike[str], config: str) -> datasets.DatasetDict:
    """Open all splits of a dataset.

    Args:
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        config: name of its config.

    Raises:
        RecipeError: there is no such dataset or config, or it is damaged.
    """
    with _refusing(f"{dataset}: {config}"):
        splits = datasets.load_dataset(_place(dataset), config)
    for split, rows in splits.items():
        _check_columns(rows, f"{dataset}: {config}, split {split!r}")
    return splits


def stream_rows(
    dataset: str | os.PathLike[str],
    config: str,
    split: str,
    transform: Callable[[Mapping[str, list[Any]]], Mapping[str, list[Any]]],
    *,
    rank: int = 0,
    world_size: int = 1,
    shuffle_buffer_rows: int = SHUFFLE_BUFFER_ROWS,
    seed: int = 0,
) -> datasets.IterableDataset:
    """Stream one split of a dataset, shared out, shuffled and rendered, in this order.

    So every machine reads its own shards only, and the buffer holds recipes, not audio. For a
    new order in each epoch call `set_epoch` of the result, as transformers' `Trainer` does.

    Args:
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        config: name of its config.
        split: name of its split.
        transform: what makes rows to be trained on of a batch of columns: `RenderTransform`.
        rank: which of the machines (or processes) this is.
        world_size: how many there are; the number of shards should be a multiple of it.
        shuffle_buffer_rows: how many rows to shuffle among, beside the order of the shards; 0
            leaves the order alone.
        seed: of the order, the same on every machine.

    Returns:
        Rows as `transform` makes them.

    Raises:
        RecipeError: there is no such dataset, config or split.
    """
    rows = open_rows(dataset, config, split, streaming=True)
    if shuffle_buffer_rows:
        rows = rows.shuffle(seed=seed, buffer_size=shuffle_buffer_rows)
    if world_size > 1:
        rows = split_dataset_by_node(rows, rank, world_size)
    return rows.map(transform, batched=True, batch_size=_RENDERED_ROWS)


def list_configs(dataset: str | os.PathLike[str]) -> list[str]:
    """List the configs of a dataset.

    Raises:
        RecipeError: there is no such dataset.
    """
    with _refusing(f"{dataset}"):
        return datasets.get_dataset_config_names(_place(dataset))


def _place(dataset: str | os.PathLike[str]) -> str:
    """Return the folder or Hub id; refuse a misspelt folder, which reads like a Hub id."""
    path = Path(dataset)
    if not path.exists() and path.parent != Path() and path.parent.is_dir():
        raise RecipeError(
            f"{dataset}: there is no such folder in {path.parent}. (Not looked for on the Hub, "
            "since that folder is here.)"
        )
    return str(dataset)


def spread(rows: datasets.Dataset, count: int | None) -> datasets.Dataset:
    """Take `count` rows, evenly spread over all; all of them if None or if there are no more."""
    if count is None or count >= len(rows):
        return rows
    return rows.select([index * len(rows) // count for index in range(count)])


@contextlib.contextmanager
def _refusing(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:
        # That rows could not be made says nothing; what came of the file does.
        raise RecipeError(f"{where} can't be opened: {error.__cause__ or error}") from error


def _check_columns(rows: datasets.Dataset | datasets.IterableDataset, where: str) -> None:
    # A stream may not know its columns before it is read.
    missing = [column for column in _COLUMNS if column not in (rows.column_names or _COLUMNS)]
    if missing:
        raise RecipeError(
            f"{where} has no column {', '.join(missing)}: it is no dataset that `mixing-buddy "
            "build` wrote."
        )
