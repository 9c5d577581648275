"""Time, disk and memory of building a data set: rows a second, bytes a row, largest process.

Builds twice into a temporary folder, first with stems to decode and resample, then with decoded
stems at hand, each in a process of its own. MUSDB18-HQ has 150 songs of 4 minutes.

Usage:
    python benchmarks/dataset_build.py --songs songs/musdb18hq [--num-proc 2]
    python benchmarks/dataset_build.py --noise-songs 10 [--duration-s 240]
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
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from mixing_buddy.schema import MODES
from mixing_buddy.stems import STEMS

_SAMPLE_RATE = 44_100


def write_noise_songs(root: Path, count: int, duration_s: float) -> None:
    """Write songs of noise in the form of MUSDB18-HQ: 44.1 kHz stereo, 16 bit."""
    for index in range(count):
        rng = np.random.default_rng(index)
        folder = root / "train" / f"song-{index:03d}"
        folder.mkdir(parents=True)
        for stem in STEMS:
            with soundfile.SoundFile(
                folder / f"{stem}.wav", "w", _SAMPLE_RATE, channels=2, subtype="PCM_16"
            ) as file:
                for start_s in range(0, round(duration_s), 10):
                    seconds = min(10, duration_s - start_s)
                    file.write(rng.normal(0, 0.05, (round(seconds * _SAMPLE_RATE), 2)).clip(-1, 1))


def build(songs: Path, out: Path, num_proc: int, cache: Path) -> float:
    """Build all modes in another process and return the seconds that it took."""
    command = [sys.executable, "-c", "from mixing_buddy.cli import main; main()", "build"]
    command += [str(songs), "--out", str(out), "--mode", "all", "--num-proc", str(num_proc)]
    environment = os.environ | {"MIXING_BUDDY_CACHE": str(cache)}
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def num_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--songs", type=Path, help="folder of songs")
    source.add_argument("--noise-songs", type=int, help="make so many songs of noise instead")
    parser.add_argument("--duration-s", type=float, default=240.0, help="of each song of noise")
    parser.add_argument("--num-proc", type=int, default=1)
    parser.add_argument("--work-dir", type=Path, help="where to put everything for the while")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work_dir) as work_dir:
        work, songs = Path(work_dir), arguments.songs
        if songs is None:
            songs = work / "noise"
            write_noise_songs(songs, arguments.noise_songs, arguments.duration_s)
        print(f"songs: {num_bytes(songs) / 1e9:.2f} GB, {arguments.num_proc} processes")
        for label in ("decoding stems", "stems decoded"):
            out = work / "dataset"
            shutil.rmtree(out, ignore_errors=True)
            seconds = build(songs, out, arguments.num_proc, work / "cache")
            rows = sum(pq.read_metadata(path).num_rows for path in out.rglob("*.parquet"))
            print(f"{label}: {seconds:.1f} s, {rows} rows, {rows / seconds:.0f} rows a second")
        # The largest of all processes that were waited for, workers among them.
        kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"largest process: {kilobytes / 1e6:.2f} GB")
        print(f"decoded stems: {num_bytes(work / 'cache') / 1e9:.2f} GB")
        for mode in MODES:
            size = num_bytes(out / mode)
            count = sum(pq.read_metadata(path).num_rows for path in (out / mode).iterdir())
            print(f"{mode}: {count} rows, {size / 1e6:.2f} MB, {size / count:.0f} bytes a row")


if __name__ == "__main__":
    main()
