"""Stems decoded once: 24 kHz, mono, floats of 32 or 16 bits, in memory-mapped files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from filelock import FileLock

from mixing_buddy.errors import OutputError
from mixing_buddy.files import hidden_prefix, open_to_replace, remove_leftovers, replacing
from mixing_buddy.songs import SAMPLE_RATE, Song, load_stems

#: Raised whenever decoding, mono mix or resampling changes what stored stems hold.
_STORE_VERSION = "1"

_PROBE_BYTES = 65_536

#: What stems can be kept as.
StemDtype = Literal["float32", "float16"]


def content_identity(song: Song) -> str:
    """Identify what a song's stem files hold, wherever the folder lies.

    Built from names, sizes, times of change and probes of each file's bytes (start, middle,
    end). Sizes and times alone are not enough: uncompressed stems of equal length have equal
    sizes, and unpacked archives equal times. Hashing all bytes would mean reading 25 GB of
    MUSDB18-HQ whenever it is opened.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in dict.fromkeys(song.stem_paths.values()):
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        with path.open("rb") as file:
            for part in range(5):
                file.seek(max(0, status.st_size - _PROBE_BYTES) * part // 4)
                digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()


class StemStore:
    """Stems of songs, decoded once and memory-mapped.

    Several processes may share a folder: files appear whole, by renaming, and a song that
    several ask for at once is decoded by one of them.

    Args:
        cache_dir: where decoded stems are kept, 16 bytes a sample of music (23 MB a minute);
            by default `$MIXING_BUDDY_CACHE/stems`, or `~/.cache/mixing_buddy/stems`.
        dtype: "float16" takes half of that, and of the memory that the system reads it ahead with;
            it rounds each sample by at most one part in 2048, a noise 66 dB below it or less.

    Raises:
        ValueError: it is another dtype.
    """

    def __init__(
        self, cache_dir: str | os.PathLike[str] | None = None, dtype: StemDtype = "float32"
    ) -> None:
        if dtype not in get_args(StemDtype):
            raise ValueError(f"Stems are kept as {' or '.join(get_args(StemDtype))}, not {dtype}.")
        if cache_dir is None:
            root = os.environ.get("MIXING_BUDDY_CACHE") or "~/.cache/mixing_buddy"
            cache_dir = Path(root).expanduser() / "stems"
        self.cache_dir = Path(cache_dir)
        self.dtype = dtype

    def path(self, song: Song) -> Path:
        """Return the file of a song's stems, decoding them if that was never done.

        Raises:
            SongError: the stems can't be used; see `load_stems`.
        """
        kind = "" if self.dtype == "float32" else f"-{self.dtype}"
        name = f"{content_identity(song)}-{SAMPLE_RATE}-v{_STORE_VERSION}{kind}.npy"
        path = self.cache_dir / name
        if not path.is_file():
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            # Processes that start together ask for the same songs: the first decodes, the others
            # wait. The lock goes with its process, however that ends.
            with FileLock(self.cache_dir / f".{name}.lock"):
                if not path.is_file():
                    self._decode(song, path)
        return path

    def _decode(self, song: Song, path: Path) -> None:
        stems = load_stems(song, SAMPLE_RATE)
        remove_leftovers(self.cache_dir.glob(f"{hidden_prefix(path)}*.part"))
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, stems.astype(self.dtype, copy=False))

    def open(self, song: Song) -> np.ndarray:
        """Map a song's stems into memory.

        Returns:
            Read-only array of the store's dtype and of shape `(4, num_samples)`, at `SAMPLE_RATE`,
            in the order of `STEMS`.

        Raises:
            SongError: the stems can't be used; see `load_stems`.
        """
        return np.load(self.path(song), mmap_mode="r")

    def measured(self, path: Path, name: str, measure: Callable[[], np.ndarray]) -> np.ndarray:
        """Return a measurement of a song's stems, made once and kept beside them.

        Every DataLoader worker of every epoch and run asks for the same ones. Where the folder
        can't be written to, they are made anew.

        Args:
            path: what `path` returned for the song.
            name: what is measured, where, and in which version of measuring.
            measure: makes the measurement.
        """
        file = path.with_suffix("") / f"{name}.npy"
        try:
            return np.load(file)
        except (OSError, ValueError, EOFError):
            # Never measured, or damaged.
            values = measure()
        try:
            file.parent.mkdir(exist_ok=True)
            with open_to_replace(file) as stream:
                np.save(stream, values)
        except (OSError, OutputError):
            pass
        return values
