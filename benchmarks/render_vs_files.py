"""Rendering rows as they are read, beside the published way: every flawed mix as a 24-bit WAV file.

The published way renders each mix, writes it, and reads it back in training. Ours keeps each song's
stems once, decoded, and mixes when a row is read. All rows of some chunks are taken, so that the
files hold what an enumeration makes of them. Files come from the operating system's cache here,
which flatters the published way: 100,000 mixes, 72 GB, would not fit into it.

Usage:
    python benchmarks/render_vs_files.py DATASET --songs NAME=FOLDER [--mode MODE] [--rows 300]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from datasets import Dataset, load_dataset
from torch.utils.data import DataLoader

from mixing_buddy.chunks import CHUNK_SAMPLES
from mixing_buddy.rendering import RenderTransform, parse_sources
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS

_FLOAT_BYTES = 4


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds that an action takes, on the clock and of this process's processor time."""
    start, start_cpu_s = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - start_cpu_s


def write_files(rendered: Dataset, folder: Path) -> None:
    """Write each clip of each row; turned down where it would clip in this format."""
    for index in range(len(rendered)):
        for number, clip in enumerate(rendered[index]["clips"]):
            samples = clip / max(1.0, float(np.abs(clip).max()))
            soundfile.write(folder / f"{index}-{number}.wav", samples, SAMPLE_RATE, "PCM_24")


def read_files(folder: Path) -> None:
    """Read all files back."""
    for path in folder.iterdir():
        soundfile.read(path, dtype="float32")


def stack_clips(rows: list[dict]) -> torch.Tensor:
    """Make a tensor of all clips of a batch, as a collator does; it crosses by shared memory."""
    return torch.from_numpy(np.stack([clip for row in rows for clip in row["clips"]]))


def samples_per_second(rendered: Dataset, num_workers: int) -> float:
    """Rows a second that a DataLoader hands out, its workers already started."""
    loader = DataLoader(
        rendered, batch_size=16, num_workers=num_workers, collate_fn=stack_clips,
        persistent_workers=num_workers > 0,
    )  # fmt: skip
    for _ in loader:
        pass
    return len(rendered) / timed(lambda: [None for _ in loader])[0]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote")
    parser.add_argument("--songs", action="append", required=True, help="NAME=FOLDER")
    parser.add_argument("--mode", default="single_mix")
    parser.add_argument("--split", default="train")
    parser.add_argument("--rows", type=int, default=300, help="rows to take, from the first on")
    arguments = parser.parse_args()
    rows = load_dataset(arguments.dataset, arguments.mode, split=arguments.split)
    rows = rows.select(range(min(arguments.rows, len(rows))))
    rendered = rows.with_transform(RenderTransform(parse_sources(arguments.songs)))
    places = set(zip(rows["source"], rows["song"], rows["start_s"], strict=True))
    print(f"{len(rows)} rows of {len(places)} chunks, mode {arguments.mode}")
    # Decodes the stems, once for ever.
    print(f"first pass, decoding stems: {timed(lambda: list(rendered))[0]:.1f} s")
    ours = timed(lambda: [rendered[index] for index in range(len(rendered))])
    ours_bytes = len(places) * len(STEMS) * CHUNK_SAMPLES * _FLOAT_BYTES
    with tempfile.TemporaryDirectory() as folder:
        writing = timed(lambda: write_files(rendered, Path(folder)))
        reading = timed(lambda: read_files(Path(folder)))
        file_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
    for label, (seconds, cpu_s), size in (
        ("files, render and write once", writing, file_bytes),
        ("files, read each epoch", reading, file_bytes),
        ("ours, render each epoch", ours, ours_bytes),
    ):
        print(
            f"{label}: {1e3 * seconds / len(rows):.2f} ms a row, {1e3 * cpu_s / len(rows):.2f} ms "
            f"of processor time, {size / 1e6:.0f} MB"
        )
    # Of processor time, which other work on the machine hardly changes.
    write_s, read_s, ours_s = writing[1], reading[1], ours[1]
    print(f"disk, files to stems: {file_bytes / ours_bytes:.1f}")
    print(f"time of one epoch, files to ours: {(write_s + read_s) / ours_s:.1f}")
    print(f"time of three epochs, files to ours: {(write_s + 3 * read_s) / (3 * ours_s):.1f}")
    for num_workers in (0, 1, 2):
        rate = samples_per_second(rendered, num_workers)
        print(f"DataLoader, {num_workers} workers: {rate:.0f} samples a second")


if __name__ == "__main__":
    main()
