"""Rows in Parquet files: one small file a song while building, shards of even size at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from mixing_buddy.labels import LABELS

#: Rows of a shard, without and with audio: small enough for many readers of a stream, few enough
#: files for a full build.
ROWS_PER_SHARD = 5_000
ROWS_PER_AUDIO_SHARD = 500

# Rows that are read and written together; with audio some 30 MB of them.
_GROUP_ROWS = 1_000
# Where there are as many shards, their number is a multiple of this, so that
# `split_dataset_by_node` hands whole shards to 2, 4 or 8 machines.
_SHARDS_STEP = 8
_AUDIO_GROUP_ROWS = 100


def write_rows(
    path: Path, rows: Iterable[dict[str, Any]], features: datasets.Features, *, has_audio: bool
) -> int:
    """Write rows to a Parquet file, a group at a time.

    Args:
        path: the file.
        rows: rows with names for labels and bytes for audio.
        features: the columns.
        has_audio: whether rows are large.

    Returns:
        Size of the rows in memory, in bytes.
    """
    num_bytes = 0
    schema = features.arrow_schema
    rest = iter(rows)
    with _writer(path, schema) as writer:
        while group := [_encoded(row) for row in islice(rest, _group_rows(has_audio))]:
            table = pa.Table.from_pylist(group, schema=schema)
            num_bytes += table.nbytes
            writer.write_table(table)
    return num_bytes


def merge_shards(
    files: Sequence[Path],
    folder: Path,
    split: str,
    features: datasets.Features,
    *,
    num_rows: int,
    has_audio: bool,
    rows_per_shard: int | None = None,
) -> None:
    """Join files of songs into shards `<split>-<number>-of-<count>.parquet`.

    Args:
        files: Parquet files, in order.
        folder: where the shards go.
        split: name of the split.
        features: the columns.
        num_rows: number of rows in all files.
        has_audio: whether rows are large.
        rows_per_shard: rows of each shard but the last; by default at most `ROWS_PER_SHARD`, or
            `ROWS_PER_AUDIO_SHARD`, so many that the number of shards, if it is eight or more, is
            a multiple of eight.
    """
    if rows_per_shard is None:
        num_shards = _divide_up(num_rows, ROWS_PER_AUDIO_SHARD if has_audio else ROWS_PER_SHARD)
        if num_shards >= _SHARDS_STEP:
            num_shards = _divide_up(num_shards, _SHARDS_STEP) * _SHARDS_STEP
        rows_per_shard = _divide_up(num_rows, num_shards)
    num_shards = _divide_up(num_rows, rows_per_shard)
    batches = _batches(files, _group_rows(has_audio))
    rest: pa.Table | None = None
    for index in range(num_shards):
        path = folder / f"{split}-{index:05d}-of-{num_shards:05d}.parquet"
        wanted = min(rows_per_shard, num_rows - index * rows_per_shard)
        with _writer(path, features.arrow_schema) as writer:
            while wanted:
                if rest is None or not len(rest):
                    rest = next(batches)
                part = rest.slice(0, wanted)
                writer.write_table(part)
                rest = rest.slice(len(part))
                wanted -= len(part)


def _divide_up(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _group_rows(has_audio: bool) -> int:
    return _AUDIO_GROUP_ROWS if has_audio else _GROUP_ROWS


def _batches(files: Sequence[Path], group_rows: int) -> Iterator[pa.Table]:
    """Read files one after another, in tables of `group_rows` rows that may span files."""
    gathered: list[pa.Table] = []
    count = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(group_rows):
                gathered.append(pa.Table.from_batches([batch]))
                count += len(batch)
                while count >= group_rows:
                    table = pa.concat_tables(gathered)
                    yield table.slice(0, group_rows)
                    gathered = [table.slice(group_rows)]
                    count = len(gathered[0])
    if count:
        yield pa.concat_tables(gathered)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Pages cut where the content says, and an index of them, as `datasets` itself writes: the Hub
    # then stores what two versions share once, and its viewer reads a page at a time.
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        write_page_index=True,
        use_content_defined_chunking=datasets.config.DEFAULT_CDC_OPTIONS,
    )


def _encoded(row: dict[str, Any]) -> dict[str, Any]:
    """Put numbers for the names of labelled columns."""
    return row | {
        column: names.index(row[column])
        for column, names in LABELS.items()
        if row.get(column) is not None
    }
