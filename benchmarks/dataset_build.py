"""Time, disk and memory of building a dataset: rows a second, bytes a row, largest process.

All modes are built with stems to decode and resample, then with decoded stems at hand, for each
number of processes, each time in a process of its own. Where other work slows the machine down, the
processor time still holds. MUSDB18-HQ has 150 songs of 4
minutes; `--join-songs` makes as many of generated songs: six of 40 s to one of 4 minutes, 44.1 kHz,
stereo, 16 bit, FLAC.

Usage:
    python benchmarks/dataset_build.py --songs songs/musdb18hq [--num-proc 2 1]
    python benchmarks/dataset_build.py --join-songs songs/generated [--count 150] [--work-dir DIR]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
from tqdm import tqdm

from mixing_buddy.audio import read_audio, resample
from mixing_buddy.schema import MODES
from mixing_buddy.songs import Song, find_songs
from mixing_buddy.stems import STEMS

_SAMPLE_RATE = 44_100
_SONG_S = 240.0
# Of MUSDB18-HQ's 150 songs 100 are for training.
_TRAIN_SHARE = 2 / 3
# The channels differ as they do in a real song; equal ones would be stored, and decoded, as one.
_RIGHT_DELAY_SAMPLES, _RIGHT_GAIN = 13, 0.8


def join_songs(source: Path, root: Path, count: int) -> None:
    """Write songs in the form of MUSDB18-HQ, each of several mono songs one after another."""
    shorter = cycle(find_songs(source))
    for index in tqdm(range(count), desc="Joining songs"):
        folder = root / ("train" if index < count * _TRAIN_SHARE else "test") / f"song-{index:03d}"
        parts = []
        while sum(soundfile.info(song.stem_paths["bass"]).duration for song in parts) < _SONG_S:
            parts.append(next(shorter))
        _write_joined(parts, folder)


def _write_joined(parts: list[Song], folder: Path) -> None:
    folder.mkdir(parents=True)
    for stem in STEMS:
        with soundfile.SoundFile(
            folder / f"{stem}.flac", "w", _SAMPLE_RATE, channels=2, subtype="PCM_16"
        ) as file:
            left = np.concatenate([_read_mono(song.stem_paths[stem]) for song in parts])
            left = left[: round(_SONG_S * _SAMPLE_RATE)]
            right = _RIGHT_GAIN * np.roll(left, _RIGHT_DELAY_SAMPLES)
            file.write(np.stack([left, right], axis=1).clip(-1.0, 1.0))


def _read_mono(path: Path) -> np.ndarray:
    audio, sample_rate = read_audio(path)
    return resample(audio[0], sample_rate, _SAMPLE_RATE)


def build(songs: Path, out: Path, num_proc: int, cache: Path) -> tuple[float, float]:
    """Build all modes in another process; return seconds on the clock and of processor time."""
    command = [sys.executable, "-c", "from mixing_buddy.cli import main; main()", "build"]
    command += [str(songs), "--out", str(out), "--mode", "all", "--num-proc", str(num_proc)]
    environment = os.environ | {"MIXING_BUDDY_CACHE": str(cache)}
    start, start_cpu_s = time.perf_counter(), _children_cpu_s()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, _children_cpu_s() - start_cpu_s


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def num_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(songs: Path, work: Path, num_procs: list[int]) -> Iterator[str]:
    """Yield the figures, line by line, as they come."""
    yield f"songs: {num_bytes(songs) / 1e9:.2f} GB"
    out, cache = work / "dataset", work / "cache"
    runs = [("decoding stems", num_procs[0]), *(("stems decoded", count) for count in num_procs)]
    for label, num_proc in runs:
        shutil.rmtree(out, ignore_errors=True)
        seconds, cpu_s = build(songs, out, num_proc, cache)
        rows = sum(pq.read_metadata(path).num_rows for path in out.rglob("*.parquet"))
        yield (
            f"{label}, {num_proc} processes: {rows} rows in {seconds:.0f} s, {rows / seconds:.0f} "
            f"rows a second; {cpu_s:.0f} s of processor time, {rows / cpu_s:.0f} rows a second"
        )
    # The largest of all processes that were waited for, workers among them.
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    yield f"largest process: {kilobytes / 1e6:.2f} GB"
    yield f"decoded stems: {num_bytes(cache) / 1e9:.2f} GB"
    for mode in MODES:
        files = sorted((out / mode).iterdir())
        size, count = num_bytes(out / mode), sum(pq.read_metadata(path).num_rows for path in files)
        yield (
            f"{mode}: {count} rows, {len(files)} files, {size / 1e6:.1f} MB, "
            f"{size / count:.0f} bytes a row"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--songs", type=Path, help="folder of songs")
    source.add_argument("--join-songs", type=Path, help="make songs of the songs of this folder")
    parser.add_argument("--count", type=int, default=150, help="how many songs to make")
    parser.add_argument("--num-proc", type=int, nargs="+", default=[1])
    parser.add_argument("--work-dir", type=Path, help="where to put everything for the while")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work_dir) as work_dir:
        work, songs = Path(work_dir), arguments.songs
        if songs is None:
            songs = work / "joined"
            join_songs(arguments.join_songs, songs, arguments.count)
        for line in measure(songs, work, arguments.num_proc):
            print(line, flush=True)


if __name__ == "__main__":
    main()
