"""Builds a data set into a folder that `load_dataset` opens without any code of ours."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import yaml

from mixing_buddy.chunks import ChunkScan
from mixing_buddy.dataset_builder.mixing_buddy_dataset import (
    MixingBuddyDataset,
    MixingBuddyDatasetConfig,
    scan_song,
)
from mixing_buddy.errors import MixingBuddyError, OutputError, SongError
from mixing_buddy.recipes import GENERATOR_VERSION, SINGLE_MIX
from mixing_buddy.rendering import StemStore
from mixing_buddy.songs import SPLITS, Song
from mixing_buddy.version import __version__

_ROWS_PER_FILE = 100_000
_CARD_MARK = "Made by `mixing-buddy build`"


@dataclass
class BuildReport:
    """What went into a data set, and what did not.

    Args:
        songs: number of songs used, by split.
        chunks: number of chunks used, by split.
        rows: number of rows, by split and category.
        skipped: number of chunks left out, by reason.
        notes: oddities of songs that were used, as (folder, note).
        broken: songs left out, as (folder, what is wrong).
        licences: licence of each source.
    """

    songs: Counter[str] = field(default_factory=Counter)
    chunks: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[tuple[Path, str]] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)
    licences: dict[str, str] = field(default_factory=dict)


def build_dataset(
    config: MixingBuddyDatasetConfig,
    out: str | os.PathLike[str],
    *,
    num_proc: int = 1,
    overwrite: bool = False,
    on_song: Callable[[int, int], None] = lambda done, total: None,
) -> BuildReport:
    """Build the recipes of folders of songs into `out`, as Parquet with a card.

    The folder appears whole or not at all. Stems that were decoded stay in the stem cache, so
    that a build that was stopped goes on where it was.

    Args:
        config: sources and settings.
        out: folder to write; it gets `<mode>/<split>-*.parquet` and `README.md`.
        num_proc: number of processes; the rows don't depend on it.
        overwrite: replace what an earlier build left in `out`.
        on_song: called after each song is decoded, with the number done and the total.

    Returns:
        Counts of songs, chunks and rows, and what was left out.

    Raises:
        OutputError: `out` holds something already.
        SongError: a song can't be used (and `skip_broken` is off), or no chunk can.
    """
    out = Path(out)
    _check_out(out, overwrite)
    report = _scan(config, num_proc, on_song)
    if not report.chunks:
        raise SongError("No chunk of these songs can be used: " + _skipped_line(report.skipped))
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        # Its own cache: the rows are wanted in `out` alone.
        builder = MixingBuddyDataset(
            cache_dir=str(temporary / "cache"),
            config_name=SINGLE_MIX,
            sources=config.sources,
            sampling=config.sampling,
            samples_per_chunk=config.samples_per_chunk,
            seed=config.seed,
            no_error_tolerance_db=config.no_error_tolerance_db,
            skip_broken=config.skip_broken,
            stem_cache_dir=config.stem_cache_dir,
        )
        builder.download_and_prepare(num_proc=num_proc)
        # A split of which gating left nothing can't be opened.
        splits = [split for split in SPLITS if report.chunks[split]]
        dataset = {split: builder.as_dataset(split=split) for split in splits}
        _write(dataset, temporary / "new", report)
        os.chmod(temporary / "new", 0o755)
        if out.exists():
            out.rename(temporary / "old")
        (temporary / "new").rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: this is a file; name a new folder.")
    if not any(out.iterdir()):
        return
    card = out / "README.md"
    ours = card.is_file() and _CARD_MARK in card.read_text(encoding="utf-8", errors="replace")
    if not ours:
        raise OutputError(f"{out}: the folder holds something that is no data set; name a new one.")
    if not overwrite:
        raise OutputError(f"{out}: a data set is there already; --overwrite replaces it.")


def _scan(
    config: MixingBuddyDatasetConfig, num_proc: int, on_song: Callable[[int, int], None]
) -> BuildReport:
    """Decode all songs into the stem cache and count what gating leaves of them."""
    report = BuildReport()
    songs = config.songs(lambda folder, error: report.broken.append((folder, str(error))))
    report.licences = {song.source: song.licence for song in songs}
    store = StemStore(config.stem_cache_dir)
    for done, (song, result) in enumerate(_scan_songs(songs, store, num_proc), start=1):
        if isinstance(result, MixingBuddyError):
            if not config.skip_broken:
                raise result
            report.broken.append((song.folder, str(result)))
        else:
            report.songs[song.split] += bool(result.chunks)
            if result.chunks:
                report.chunks[song.split] += len(result.chunks)
            report.skipped += result.skipped
            report.notes += [(song.folder, note) for note in result.notes]
        on_song(done, len(songs))
    return report


def _scan_songs(
    songs: Sequence[Song], store: StemStore, num_proc: int
) -> Iterator[tuple[Song, ChunkScan | MixingBuddyError]]:
    if num_proc == 1:
        for song in songs:
            yield song, _scan_or_error(song, store)
        return
    with ProcessPoolExecutor(num_proc) as pool:
        futures = [pool.submit(_scan_or_error, song, store) for song in songs]
        try:
            for song, future in zip(songs, futures, strict=True):
                yield song, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _scan_or_error(song: Song, store: StemStore) -> ChunkScan | MixingBuddyError:
    try:
        return scan_song(song, store)
    except MixingBuddyError as error:
        return error


def _write(dataset: Mapping[str, datasets.Dataset], folder: Path, report: BuildReport) -> None:
    (folder / SINGLE_MIX).mkdir(parents=True)
    for split, rows in dataset.items():
        report.rows.update((split, category) for category in rows["category"])
        num_files = max(1, -(-len(rows) // _ROWS_PER_FILE))
        for index in range(num_files):
            name = f"{split}-{index:05d}-of-{num_files:05d}.parquet"
            shard = rows.shard(num_files, index, contiguous=True)
            shard.to_parquet(folder / SINGLE_MIX / name)
    (folder / "README.md").write_text(_card(list(dataset), report), encoding="utf-8")


def _card(splits: Sequence[str], report: BuildReport) -> str:
    header = {
        "pretty_name": "Mixing Buddy: gain-balance advice",
        "language": ["en"],
        "tags": ["audio", "music", "mixing"],
        "configs": [
            {
                "config_name": SINGLE_MIX,
                "data_files": [
                    {"split": split, "path": f"{SINGLE_MIX}/{split}-*.parquet"} for split in splits
                ],
            }
        ],
    }
    sizes = "\n".join(
        f"| {split} | {report.songs[split]} | {report.chunks[split]} "
        f"| {sum(count for (of, _), count in report.rows.items() if of == split)} |"
        for split in SPLITS
        if split in splits
    )
    sources = "\n".join(f"| {name} | {licence} |" for name, licence in report.licences.items())
    return f"""---
{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---

# Gain-balance advice on music mixes

{_CARD_MARK} (version {__version__}, recipes of version {GENERATOR_VERSION}).

Each row is a recipe: which ten seconds of which song to take, at what gain each stem goes into
the mix, and the question and answer that belong to it. There is no audio in here. Whoever has
the songs makes the mixes again:

```
mixing-buddy render DATASET --songs SOURCE=FOLDER --out mixes
```

| split | songs | chunks | rows |
| --- | --- | --- | --- |
{sizes}

The songs themselves keep their licences:

| source | licence of its audio |
| --- | --- |
{sources}
"""


def _skipped_line(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in skipped.most_common()) or "no songs"
