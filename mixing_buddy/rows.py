"""Opening built data sets, with errors that say what is wrong."""

from __future__ import annotations

import os

import datasets

from mixing_buddy.errors import RecipeError


def open_rows(dataset: str | os.PathLike[str], config: str, split: str) -> datasets.Dataset:
    """Open one split of a data set.

    Args:
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        config: name of its config.
        split: name of its split.

    Raises:
        RecipeError: there is no such data set, config or split.
    """
    try:
        return datasets.load_dataset(str(dataset), config, split=split)
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise RecipeError(
            f"{dataset}: {config}, split {split!r} can't be opened: {error}"
        ) from error


def list_configs(dataset: str | os.PathLike[str]) -> list[str]:
    """List the configs of a data set.

    Raises:
        RecipeError: there is no such data set.
    """
    try:
        return datasets.get_dataset_config_names(str(dataset))
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise RecipeError(f"{dataset} can't be opened: {error}") from error


def spread(rows: datasets.Dataset, count: int | None) -> datasets.Dataset:
    """Take `count` rows, evenly spread over all; all of them if None or if there are no more."""
    if count is None or count >= len(rows):
        return rows
    return rows.select([index * len(rows) // count for index in range(count)])
