"""From recipes to audio: stems mixed on the fly.

Rendering is arithmetic on stems, so no mix is ever stored. A `stem_store.StemStore` keeps each
song's stems as the model needs them, and `RenderTransform` renders rows of a dataset as they are
read.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixing_buddy.chunks import CHUNK_SAMPLES
from mixing_buddy.errors import RecipeError, SongError
from mixing_buddy.labels import decode_labels
from mixing_buddy.loudness import db_to_gain, k_weighted
from mixing_buddy.schema import Recipe
from mixing_buddy.songs import SAMPLE_RATE, Source, find_song, read_source
from mixing_buddy.stem_store import StemDtype, StemStore
from mixing_buddy.stems import STEMS

#: Length in samples of the blocks that `stem_powers` averages over; a divisor of what one audio
#: token covers, for MERT's strides as for nano's.
POWER_BLOCK = 320

_MAX_OPEN_SONGS = 1024
#: Powers of so many chunks are kept in memory, 12 kB each.
_MAX_MEASURED_CHUNKS = 8192
#: Raised whenever `stem_powers` measures in another way.
_POWERS_VERSION = "1"

#: Where a chunk is: source, split, song, start_s, duration_s.
Chunk = tuple[str, str, str, float, float]


@dataclass(frozen=True)
class StemPart:
    """Where one stem of a row is taken from.

    Args:
        chunk: the chunk.
        gain_db: gain that it is taken with, in dB.
    """

    chunk: Chunk
    gain_db: float = 0.0


def render(stems: np.ndarray, stem_gains_db: Mapping[str, float | None]) -> np.ndarray:
    """Mix stems: the plain sum of gain times stem, without normalisation.

    Args:
        stems: float32 of shape `(4, num_samples)`, in the order of `STEMS`.
        stem_gains_db: gain of each stem in dB, one for each of `STEMS`; None leaves it out.

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
        gain_db = stem_gains_db[stem]
        if gain_db == 0.0:
            mix += samples
        elif gain_db is not None:
            mix += np.float32(db_to_gain(gain_db)) * samples
    return mix


def stem_powers(stems: np.ndarray) -> np.ndarray:
    """Measure how loud each stem stands, block by block, as people hear it.

    Args:
        stems: float32 of shape `(4, num_samples)`, in the order of `STEMS`.

    Returns:
        Mean square of each K-weighted stem over blocks of `POWER_BLOCK` samples: float32 of shape
        `(num_samples // POWER_BLOCK, 4)`.
    """
    num_blocks = stems.shape[1] // POWER_BLOCK
    weighted = k_weighted(stems[:, : num_blocks * POWER_BLOCK], SAMPLE_RATE)
    blocks = weighted.reshape(len(STEMS), num_blocks, POWER_BLOCK)
    return np.einsum("sbn,sbn->bs", blocks, blocks) / np.float32(POWER_BLOCK)


def powers_in_clip(powers: np.ndarray, stem_gains_db: Mapping[str, float | None]) -> np.ndarray:
    """Turn powers of stems into those with their gains in a clip.

    Args:
        powers: what `stem_powers` returned, of shape `(num_blocks, 4)`.
        stem_gains_db: gain of each stem in the clip, in dB; None where it is not in it.

    Returns:
        float32 of the same shape.
    """
    gains_db = [stem_gains_db[stem] for stem in STEMS]
    gains = [0.0 if gain_db is None else db_to_gain(gain_db) for gain_db in gains_db]
    return powers * np.square(gains).astype(np.float32)


def cut_chunk(stems: np.ndarray, start_s: float, duration_s: float) -> np.ndarray:
    """Take the stems of a chunk out of those of a song, padded with zeros to a whole chunk.

    Args:
        stems: of shape `(4, num_samples)` at `SAMPLE_RATE`.
        start_s: where the chunk starts, in seconds.
        duration_s: length of the music in it, in seconds.

    Returns:
        Shape `(4, CHUNK_SAMPLES)`.

    Raises:
        RecipeError: the song ends before the chunk does.
    """
    start, count = round(start_s * SAMPLE_RATE), round(duration_s * SAMPLE_RATE)
    if start < 0 or not 0 < count <= CHUNK_SAMPLES or start + count > stems.shape[1]:
        raise RecipeError(
            f"{duration_s:g} s from {start_s:g} s can't be taken from a song of "
            f"{stems.shape[1] / SAMPLE_RATE:g} s: these are not the songs that the recipes were "
            "made from."
        )
    part = stems[:, start : start + count]
    return np.pad(part, ((0, 0), (0, CHUNK_SAMPLES - count))) if count < CHUNK_SAMPLES else part


class RenderTransform:
    """Render the clips of rows as they are read: `dataset.with_transform(RenderTransform(...))`.

    It can be pickled, to DataLoader workers for one: files are opened anew in each process.

    Args:
        sources: root folder of each source that the rows name.
        cache_dir: see `StemStore`.
        stem_dtype: see `StemStore`; what is rendered is float32 all the same.
    """

    def __init__(
        self,
        sources: Mapping[str, str | os.PathLike[str]],
        cache_dir: str | os.PathLike[str] | None = None,
        stem_dtype: StemDtype = "float32",
    ) -> None:
        self.sources = {name: Path(root) for name, root in sources.items()}
        self.store = StemStore(cache_dir, stem_dtype)
        self._read: dict[str, Source] = {}
        self._paths: dict[tuple[str, str, str], Path] = {}
        self._open: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._powers: OrderedDict[Chunk, np.ndarray] = OrderedDict()

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Add the audio to a batch, and put names for the numbers of labelled columns.

        Args:
            batch: columns of rows as `datasets` hands them to a transform, those that say what
                to render among them. Without a column `audios` each row is one mix.

        Returns:
            The batch and `"clips"`, for each row a list of float32 arrays of shape
            `(num_samples,)` in the order of its `audios`, and `"stem_powers"`, for each row
            what `powers_in_clip` returns for each of its clips. Where every row has one clip,
            that is `"audio"` as well.

        Raises:
            RecipeError: a column is missing, or a row does not belong to these songs.
            SongError: a song is missing or broken.
        """
        columns = ("source", "split", "song", "start_s", "duration_s", "stem_gains_db")
        missing = [column for column in columns if column not in batch]
        if missing:
            raise RecipeError(f"Rows without {', '.join(missing)} can't be rendered.")
        clips, powers = [], []
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            stems = self.row_stems(row)
            if "audios" in row:
                gains = [clip["stem_gains_db"] for clip in row["audios"]]
            else:
                gains = [row["stem_gains_db"]]
            clips.append([render(stems, each) for each in gains])
            of_stems = self.row_powers(row, stems)
            powers.append([powers_in_clip(of_stems, each) for each in gains])
        return {**with_audio(decode_labels(batch), clips), "stem_powers": powers}

    def row_parts(self, row: Mapping[str, Any]) -> list[StemPart]:
        """Say where each of `STEMS` of a row is taken from; training swaps and balances here."""
        place = ("source", "split", "song", "start_s", "duration_s")
        return [StemPart(tuple(row[column] for column in place))] * len(STEMS)

    def row_stems(self, row: Mapping[str, Any]) -> np.ndarray:
        """Return the stems that a row's clips are rendered from; training augments them here.

        Args:
            row: the columns of one row.

        Returns:
            float32 of shape `(4, CHUNK_SAMPLES)` at `SAMPLE_RATE`.
        """
        parts = self.row_parts(row)
        if len(set(parts)) == 1 and parts[0].gain_db == 0.0:
            return self.chunk_stems(*parts[0].chunk)
        stems = np.empty((len(STEMS), CHUNK_SAMPLES), dtype=np.float32)
        for index, part in enumerate(parts):
            samples = _as_float32(self._kept_stems(*part.chunk)[index])
            np.multiply(samples, np.float32(db_to_gain(part.gain_db)), out=stems[index])
        return stems

    def row_powers(self, row: Mapping[str, Any], stems: np.ndarray) -> np.ndarray:
        """Return the powers of the stems that a row's clips are rendered from.

        A gain changes them by its square, so each chunk is measured once, whatever its rows.

        Args:
            row: the columns of one row.
            stems: what `row_stems` returned.

        Returns:
            What `stem_powers` returns for the stems.
        """
        columns = [
            self._chunk_powers(part.chunk)[:, index] * np.float32(db_to_gain(part.gain_db) ** 2)
            for index, part in enumerate(self.row_parts(row))
        ]
        return np.stack(columns, axis=1)

    def _chunk_powers(self, chunk: Chunk) -> np.ndarray:
        if chunk not in self._powers:
            source, split, song, start_s, duration_s = chunk
            self._powers[chunk] = self.store.measured(
                self._path(source, split, song),
                f"powers-{float(start_s)!r}-{float(duration_s)!r}-v{_POWERS_VERSION}",
                lambda: stem_powers(self.chunk_stems(*chunk)),
            )
            if len(self._powers) > _MAX_MEASURED_CHUNKS:
                self._powers.popitem(last=False)
        return self._powers[chunk]

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
        return _as_float32(self._kept_stems(source, split, song, start_s, duration_s))

    def _kept_stems(
        self, source: str, split: str, song: str, start_s: float, duration_s: float
    ) -> np.ndarray:
        """Return the stems of a chunk as the store keeps them."""
        stems = self._stems(source, split, song)
        try:
            return cut_chunk(stems, start_s, duration_s)
        except RecipeError as error:
            raise RecipeError(f"{source}/{split}/{song}: {error}") from error

    def source(self, name: str) -> Source:
        """Return a source by the name that rows give it.

        Raises:
            RecipeError: no folder was given for it.
            SongError: there is no such folder.
        """
        if name not in self.sources:
            raise RecipeError(
                f"No folder given for the songs of source {name!r} (given: "
                f"{', '.join(sorted(self.sources)) or 'none'})."
            )
        if name not in self._read:
            self._read[name] = read_source(self.sources[name])
        return self._read[name]

    def __getstate__(self) -> dict[str, Any]:
        # Open maps would be pickled as copies of whole songs; powers are read again.
        return {**self.__dict__, "_open": OrderedDict(), "_powers": OrderedDict()}

    def _path(self, source: str, split: str, song: str) -> Path:
        key = (source, split, song)
        if key not in self._paths:
            found = find_song(self.source(source), split, song)
            self._paths[key] = self.store.path(found)
        return self._paths[key]

    def _stems(self, source: str, split: str, song: str) -> np.ndarray:
        path = self._path(source, split, song)
        if path not in self._open:
            self._open[path] = np.load(path, mmap_mode="r")
            if len(self._open) > _MAX_OPEN_SONGS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def _as_float32(samples: np.ndarray) -> np.ndarray:
    """Widen samples; PyTorch does so 20 times as fast as NumPy."""
    if samples.dtype == np.float32:
        return samples
    import torch  # takes seconds, and building a dataset needs none

    # PyTorch warns of memory that can't be written to, such as a file's.
    return torch.from_numpy(np.array(samples)).float().numpy()


def parse_sources(sources: Sequence[str]) -> dict[str, Path]:
    """Read `[NAME=]FOLDER` of each source; without a name the folder says it.

    Raises:
        SongError: there is no such folder, or two folders have one name.
    """
    parsed: dict[str, Path] = {}
    for text in sources:
        name, separator, folder = text.partition("=")
        # A folder may have "=" in its own name.
        if not separator or Path(text).is_dir():
            source = read_source(text)
            name, root = source.name, source.root
        elif not Path(folder).is_dir():
            raise SongError(f"{folder}: there is no such folder of songs.")
        else:
            root = Path(folder)
        if name in parsed and parsed[name].resolve() != root.resolve():
            raise SongError(
                f"{parsed[name]} and {root} are both called {name!r}, and rows know their songs by "
                "that name. Give one of them another name in its source.yaml (`name: ...`) and "
                "build its rows anew."
            )
        parsed[name] = root
    return parsed


def with_audio(batch: Mapping[str, list[Any]], clips: list[list[np.ndarray]]) -> dict[str, Any]:
    """Add clips to a batch as `RenderTransform` does.

    Args:
        batch: columns of rows.
        clips: for each row its clips, of shape `(num_samples,)`.
    """
    result = {**batch, "clips": clips}
    if all(len(of_row) == 1 for of_row in clips):
        result["audio"] = [clip for (clip,) in clips]
    return result


def render_recipe(
    recipe: Recipe | Mapping[str, Any],
    sources: Mapping[str, str | os.PathLike[str]],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[np.ndarray]:
    """Render the clips of one recipe; for many, use `RenderTransform`.

    Args:
        recipe: a recipe, or a row of a dataset.
        sources: root folder of each source.
        cache_dir: see `StemStore`.

    Returns:
        For each clip float32 of shape `(CHUNK_SAMPLES,)` at `SAMPLE_RATE`.
    """
    row = recipe.to_row() if isinstance(recipe, Recipe) else recipe
    batch = {name: [value] for name, value in row.items()}
    return RenderTransform(sources, cache_dir)(batch)["clips"][0]
