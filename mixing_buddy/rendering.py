"""From recipes to audio: stems decoded once, mixed on the fly.

Rendering is arithmetic on stems, so no mix is ever stored. A `StemStore` keeps each song's
stems as the model needs them (24 kHz, mono, float32) in memory-mapped files, and
`RenderTransform` mixes rows of a data set as they are read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixing_buddy.chunks import CHUNK_SAMPLES
from mixing_buddy.errors import RecipeError, SongError
from mixing_buddy.loudness import db_to_gain
from mixing_buddy.recipes import Recipe
from mixing_buddy.songs import SAMPLE_RATE, Song, Source, find_song, load_stems, read_source
from mixing_buddy.stems import STEMS

#: Raised whenever decoding, mono mix or resampling changes what stored stems hold.
_STORE_VERSION = "1"

#: Length in samples of the blocks that `stem_powers` averages over; a divisor of what one audio
#: token covers, for MERT's strides as for nano's.
POWER_BLOCK = 320

_MAX_OPEN_SONGS = 64
_PROBE_BYTES = 65_536


def render(stems: np.ndarray, stem_gains_db: Mapping[str, float]) -> np.ndarray:
    """Mix stems: the plain sum of gain times stem, without normalisation.

    Args:
        stems: float32 of shape `(4, num_samples)`, in the order of `STEMS`.
        stem_gains_db: gain of each stem in dB, one for each of `STEMS`.

    Returns:
        float32 of shape `(num_samples,)`; it may exceed full scale. The sum is taken stem by
        stem in float32, so that the result is the same, bit for bit, on every machine.

    Raises:
        RecipeError: another number of stems, or gains for other stems.
    """
    if stems.ndim != 2 or len(stems) != len(STEMS):
        raise RecipeError(f"Stems of shape {stems.shape}: expected ({len(STEMS)}, num_samples).")
    if set(stem_gains_db) != set(STEMS):
        raise RecipeError(
            f"Gains for {', '.join(sorted(stem_gains_db)) or 'no stem'}: expected one for each of "
            f"{', '.join(STEMS)}."
        )
    mix = np.zeros(stems.shape[1], dtype=np.float32)
    for stem, samples in zip(STEMS, stems, strict=True):
        mix += np.float32(db_to_gain(stem_gains_db[stem])) * samples
    return mix


def stem_powers(stems: np.ndarray, stem_gains_db: Mapping[str, float]) -> np.ndarray:
    """Measure how loud each stem is in the mix, block by block.

    Args:
        stems: float32 of shape `(4, num_samples)`, in the order of `STEMS`.
        stem_gains_db: gain of each stem in dB.

    Returns:
        float32 of shape `(num_blocks, 4)`: mean square of each stem over `POWER_BLOCK` samples.
    """
    num_blocks = stems.shape[1] // POWER_BLOCK
    blocks = stems[:, : num_blocks * POWER_BLOCK].reshape(len(STEMS), num_blocks, POWER_BLOCK)
    gains = np.array([db_to_gain(stem_gains_db[stem]) for stem in STEMS], dtype=np.float32)
    return np.einsum("sbn,sbn->bs", blocks, blocks) / POWER_BLOCK * gains**2


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
    for path in song.stem_paths.values():
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
    two processes decode at once comes out the same.

    Args:
        cache_dir: where decoded stems are kept, 16 bytes a sample of music (23 MB a minute);
            by default `$MIXING_BUDDY_CACHE/stems`, or `~/.cache/mixing_buddy/stems`.
    """

    def __init__(self, cache_dir: str | os.PathLike[str] | None = None) -> None:
        if cache_dir is None:
            root = os.environ.get("MIXING_BUDDY_CACHE") or "~/.cache/mixing_buddy"
            cache_dir = Path(root).expanduser() / "stems"
        self.cache_dir = Path(cache_dir)

    def path(self, song: Song) -> Path:
        """Return the file of a song's stems, decoding them if that was never done.

        Raises:
            SongError: the stems can't be used; see `load_stems`.
        """
        name = f"{content_identity(song)}-{SAMPLE_RATE}-v{_STORE_VERSION}.npy"
        path = self.cache_dir / name
        if not path.is_file():
            stems = load_stems(song, SAMPLE_RATE)
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.cache_dir, prefix=".", suffix=".npy")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.save(file, stems)
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        return path

    def open(self, song: Song) -> np.ndarray:
        """Map a song's stems into memory.

        Returns:
            Read-only float32 of shape `(4, num_samples)` at `SAMPLE_RATE`, in the order of
            `STEMS`.

        Raises:
            SongError: the stems can't be used; see `load_stems`.
        """
        return np.load(self.path(song), mmap_mode="r")


class RenderTransform:
    """Render the mixes of rows as they are read: `dataset.with_transform(RenderTransform(...))`.

    It can be pickled, to DataLoader workers for one: files are opened anew in each process.

    Args:
        sources: root folder of each source that the rows name.
        cache_dir: see `StemStore`.
    """

    def __init__(
        self,
        sources: Mapping[str, str | os.PathLike[str]],
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.sources = {name: Path(root) for name, root in sources.items()}
        self.store = StemStore(cache_dir)
        self._paths: dict[tuple[str, str, str], Path] = {}
        self._open: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Add `"audio"` to a batch.

        Args:
            batch: columns of rows as `datasets` hands them to a transform, those of
                `Recipe.to_row` that say what to mix among them.

        Returns:
            The batch, `"audio"`: a float32 array of shape `(num_samples,)` for each row, and
            `"stem_powers"`: what `stem_powers` returns for it.
        """
        columns = ("source", "split", "song", "start_s", "duration_s", "stem_gains_db")
        missing = [column for column in columns if column not in batch]
        if missing:
            raise RecipeError(f"Rows without {', '.join(missing)} can't be rendered.")
        rows = zip(*(batch[column] for column in columns), strict=True)
        audio, powers = zip(*(self._render(*row) for row in rows), strict=True)
        return {**batch, "audio": list(audio), "stem_powers": list(powers)}

    def chunk_stems(
        self, source: str, split: str, song: str, start_s: float, duration_s: float
    ) -> np.ndarray:
        """Return the stems of a chunk, padded with zeros where the song is shorter.

        Returns:
            float32 of shape `(4, CHUNK_SAMPLES)` at `SAMPLE_RATE`.

        Raises:
            SongError: the song is missing or broken.
            RecipeError: the source is unknown, or the song ends before the chunk does.
        """
        stems = self._stems(source, split, song)
        start, count = round(start_s * SAMPLE_RATE), round(duration_s * SAMPLE_RATE)
        if start < 0 or not 0 < count <= CHUNK_SAMPLES or start + count > stems.shape[1]:
            raise RecipeError(
                f"{source}/{split}/{song}: {duration_s:g} s from {start_s:g} s can't be taken from "
                f"a song of {stems.shape[1] / SAMPLE_RATE:g} s: these are not the songs that the "
                "recipes were made from."
            )
        part = stems[:, start : start + count]
        if count < CHUNK_SAMPLES:
            part = np.pad(part, ((0, 0), (0, CHUNK_SAMPLES - count)))
        return part

    def __getstate__(self) -> dict[str, Any]:
        # Open maps would be pickled as copies of whole songs.
        return {**self.__dict__, "_open": OrderedDict()}

    def _render(
        self, source, split, song, start_s, duration_s, stem_gains_db
    ) -> tuple[np.ndarray, np.ndarray]:
        stems = self.chunk_stems(source, split, song, start_s, duration_s)
        return render(stems, stem_gains_db), stem_powers(stems, stem_gains_db)

    def _stems(self, source: str, split: str, song: str) -> np.ndarray:
        key = (source, split, song)
        if key not in self._paths:
            if source not in self.sources:
                raise RecipeError(
                    f"No folder given for the songs of source {source!r} (given: "
                    f"{', '.join(sorted(self.sources)) or 'none'})."
                )
            found = find_song(Source(source, self.sources[source], "unknown"), split, song)
            self._paths[key] = self.store.path(found)
        path = self._paths[key]
        if path not in self._open:
            self._open[path] = np.load(path, mmap_mode="r")
            if len(self._open) > _MAX_OPEN_SONGS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def parse_sources(sources: Sequence[str]) -> dict[str, Path]:
    """Read `[NAME=]FOLDER` of each source; without a name the folder says it.

    Raises:
        SongError: there is no such folder.
    """
    parsed = {}
    for text in sources:
        name, separator, folder = text.partition("=")
        # A folder may have "=" in its own name.
        if not separator or Path(text).is_dir():
            source = read_source(text)
            parsed[source.name] = source.root
        elif not Path(folder).is_dir():
            raise SongError(f"{folder}: there is no such folder of songs.")
        else:
            parsed[name] = Path(folder)
    return parsed


def render_recipe(
    recipe: Recipe | Mapping[str, Any],
    sources: Mapping[str, str | os.PathLike[str]],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Render the mix of one recipe; for many, use `RenderTransform`.

    Args:
        recipe: a recipe, or a row of a data set.
        sources: root folder of each source.
        cache_dir: see `StemStore`.

    Returns:
        float32 of shape `(CHUNK_SAMPLES,)` at `SAMPLE_RATE`.
    """
    row = recipe.to_row() if isinstance(recipe, Recipe) else recipe
    batch = {name: [value] for name, value in row.items()}
    return RenderTransform(sources, cache_dir)(batch)["audio"][0]
