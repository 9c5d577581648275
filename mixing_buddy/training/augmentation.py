"""Changing training samples in ways that leave their answers right.

Everything is drawn from the run's seed, the epoch and the row's ``uid``, so a row sounds the same
whatever process or worker renders it and wherever a run was resumed, and another way in the next
epoch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
import torch
from transformers import TrainerCallback

from mixing_buddy.chunks import MIN_STEM_DBFS
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.loudness import db_to_gain, k_weighting_power, rms_dbfs
from mixing_buddy.rendering import Chunk, RenderTransform, StemPart, stem_powers
from mixing_buddy.songs import SAMPLE_RATE, find_song
from mixing_buddy.stem_store import StemDtype
from mixing_buddy.stems import STEMS
from mixing_buddy.training.arguments import AugmentationArguments

#: Tilt is about this frequency, and levels off this many octaves from it.
_TILT_CENTRE_HZ, _TILT_OCTAVES = 1000.0, 4.0
_NUM_PEAKS, _PEAK_RANGE_HZ, _PEAK_OCTAVES = 2, (60.0, 8000.0), (0.7, 2.0)
#: How many chunks are tried for a stem that can be heard; after that the row keeps its own.
_MAX_TRIES = 4


@dataclass(frozen=True)
class Balance:
    """What the balance of a generated song was made of.

    Args:
        mix_level_lufs: level common to all its stems.
        deviations_db: how far each stem stands from where the convention has it.
    """

    mix_level_lufs: float
    deviations_db: Mapping[str, float]


class AugmentingTransform(RenderTransform):
    """`RenderTransform` for training rows: renders them a little differently in every epoch.

    Stem swaps, equalisation and gain are done to the stems, before anything is rendered, so
    that all clips of a sample and its ``stem_powers`` agree. Noise and offset are added to the
    clips, since they belong to a recording and not to a stem.

    Args:
        sources: root folder of each source that the rows name.
        settings: what to do.
        seed: of the run.
        chunks: the chunks that stems may be taken from for others; see `chunks_of`.
        cache_dir: see `StemStore`.
        stem_dtype: see `StemStore`.

    Raises:
        MixingBuddyError: a setting is out of range, or stems are to be swapped and no chunk is
            of a song that says how loud its mix stands.
    """

    def __init__(
        self,
        sources: Mapping[str, str | os.PathLike[str]],
        settings: AugmentationArguments,
        *,
        seed: int,
        chunks: Sequence[Chunk] = (),
        cache_dir: str | os.PathLike[str] | None = None,
        stem_dtype: StemDtype = "float32",
    ) -> None:
        super().__init__(sources, cache_dir, stem_dtype)
        settings.check()
        self.settings = settings
        self.seed = seed
        # Shared memory: DataLoader workers that outlive an epoch must see the next one's number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._balances: dict[tuple[str, str, str], Balance | None] = {}
        self._levels_dbfs: dict[Chunk, list[float]] = {}
        # By source, split and length, then by song.
        self._donors: dict[tuple[str, str, float], dict[str, list[Chunk]]] = {}
        if settings.swap_stems_probability or settings.redraw_balance_db:
            for chunk in chunks:
                source, split, song, _, duration_s = chunk
                if self._balance(source, split, song) is not None:
                    songs = self._donors.setdefault((source, split, duration_s), {})
                    songs.setdefault(song, []).append(chunk)
            if not self._donors:
                raise MixingBuddyError(
                    "swap_stems_probability and redraw_balance_db need songs whose balance is "
                    "known, those that `mixing-buddy generate-songs` made (their song.json says "
                    "how loud the mix and each stem stand), and none of the training rows is of "
                    "such a song. Leave them at 0."
                )

    @property
    def epoch(self) -> int:
        """Number of the pass over the rows, from 0."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch.fill_(value)

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Render rows as `RenderTransform` does, augmented; rows have a column ``uid`` too."""
        rendered = super().__call__(batch)
        rendered["clips"] = [
            self._record(uid, clips)
            for uid, clips in zip(batch["uid"], rendered["clips"], strict=True)
        ]
        if "audio" in rendered:
            rendered["audio"] = [clip for (clip,) in rendered["clips"]]
        return rendered

    def row_stems(self, row: Mapping[str, Any]) -> np.ndarray:
        """Return the stems of a row, some of other songs, balanced anew, equalised and turned."""
        stems = super().row_stems(row)
        settings = self.settings
        if self._equalises:
            rng = self._rng(row["uid"], "equalise")
            curves_db = [
                draw_curve_db(rng, settings.augment_tilt_db, settings.augment_peak_db)
                for _ in STEMS
            ]
            stems = equalise(stems, curves_db)
        if settings.augment_gain_db:
            stems = stems * np.float32(db_to_gain(self._gain_db(row["uid"])))
        return stems

    def row_powers(self, row: Mapping[str, Any], stems: np.ndarray) -> np.ndarray:
        """Return the powers of a row's stems; those of equalised stems are measured anew."""
        if self._equalises:
            return stem_powers(stems)
        powers = super().row_powers(row, stems)
        if self.settings.augment_gain_db:
            powers = powers * np.float32(db_to_gain(self._gain_db(row["uid"])) ** 2)
        return powers

    @property
    def _equalises(self) -> bool:
        return bool(self.settings.augment_tilt_db or self.settings.augment_peak_db)

    def _gain_db(self, uid: str) -> float:
        limit = self.settings.augment_gain_db
        return self._rng(uid, "gain").uniform(-limit, limit)

    def _rng(self, uid: str, purpose: str) -> np.random.Generator:
        """One stream for each purpose, so that switching one off leaves the others as they were."""
        text = f"{self.seed}\0{self.epoch}\0{uid}\0{purpose}"
        return np.random.default_rng(
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
        )

    def _record(self, uid: str, clips: list[np.ndarray]) -> list[np.ndarray]:
        """Add what a poor recording adds: noise, and an offset from zero."""
        settings = self.settings
        if settings.augment_noise_snr_db:
            rng = self._rng(uid, "noise")
            snr_db = rng.uniform(*settings.augment_noise_snr_db)
            # Relative to the sample, not to each clip: in a clip apart, a quiet stem would
            # otherwise get quieter noise, and the noise would tell how loud it is.
            power = np.mean([np.dot(clip, clip) / clip.size for clip in clips])
            noise_rms = np.float32(math.sqrt(power) * db_to_gain(-snr_db))
            clips = [
                clip + noise_rms * rng.standard_normal(clip.size, dtype=np.float32)
                for clip in clips
            ]
        if settings.augment_dc_offset:
            limit = settings.augment_dc_offset
            offset = np.float32(self._rng(uid, "offset").uniform(-limit, limit))
            clips = [clip + offset for clip in clips]
        return clips

    def row_parts(self, row: Mapping[str, Any]) -> list[StemPart]:
        """Take stems from other songs of the same source and split, and balance them anew.

        Each stem of a generated song stands at its usual loudness plus a deviation of its own,
        so a stem of another song stands as rightly in this mix, once the difference of the two
        mixes' common levels is made up for; and so does one with another deviation. Only audible
        stems are replaced, and by audible ones: texts and clips say which stems sound.
        """
        parts = super().row_parts(row)
        settings = self.settings
        if not (settings.swap_stems_probability or settings.redraw_balance_db):
            return parts
        own_place = (row["source"], row["split"], row["song"])
        own = self._balance(*own_place)
        if own is None:
            return parts
        donors = self._donors.get((row["source"], row["split"], row["duration_s"]), {})
        others = [song for song in donors if song != row["song"]]
        swaps, redraws = self._rng(row["uid"], "swap"), self._rng(row["uid"], "balance")
        result = []
        for index, (stem, part) in enumerate(zip(STEMS, parts, strict=True)):
            own_chunk = chunk = part.chunk
            balance = own
            if (
                others
                and swaps.random() < settings.swap_stems_probability
                and self._chunk_levels_dbfs(own_chunk)[index] > MIN_STEM_DBFS
            ):
                for _ in range(_MAX_TRIES):
                    chunks = donors[others[swaps.integers(len(others))]]
                    tried = chunks[swaps.integers(len(chunks))]
                    donor = self._balance(*tried[:3])
                    gain_db = own.mix_level_lufs - donor.mix_level_lufs
                    if self._chunk_levels_dbfs(tried)[index] + gain_db > MIN_STEM_DBFS:
                        chunk, balance = tried, donor
                        break
            gain_db = own.mix_level_lufs - balance.mix_level_lufs
            if settings.redraw_balance_db and stem in balance.deviations_db:
                deviation_db = redraws.normal(0.0, settings.redraw_balance_db)
                gain_db += deviation_db - balance.deviations_db[stem]
            result.append(StemPart(chunk, gain_db))
        return result

    def _chunk_levels_dbfs(self, chunk: Chunk) -> list[float]:
        """Return the RMS level of each stem of a chunk, measured once."""
        if chunk not in self._levels_dbfs:
            self._levels_dbfs[chunk] = [rms_dbfs(stem) for stem in self.chunk_stems(*chunk)]
        return self._levels_dbfs[chunk]

    def _balance(self, source: str, split: str, song: str) -> Balance | None:
        """Return what a generated song's balance was made of, None for other songs."""
        key = (source, split, song)
        if key not in self._balances:
            file = find_song(self.source(source), split, song).folder / "song.json"
            try:
                facts = json.loads(file.read_text(encoding="utf-8"))["balance"]
                self._balances[key] = Balance(
                    mix_level_lufs=float(facts["offset_lufs"]),
                    deviations_db={
                        stem: float(stem_facts["deviation_db"])
                        for stem, stem_facts in facts.get("stems", {}).items()
                    },
                )
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                self._balances[key] = None
        return self._balances[key]


class EpochCallback(TrainerCallback):
    """Tells an `AugmentingTransform` which epoch begins, on a resumed run too."""

    def __init__(self, transform: AugmentingTransform):
        self.transform = transform

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Set the epoch before the DataLoader's workers start."""
        self.transform.epoch = int((state.epoch or 0) + 1e-6)


def chunks_of(rows) -> list[Chunk]:
    """List the chunks that the rows of a ``datasets.Dataset`` are made from, sorted."""
    columns = ("source", "split", "song", "start_s", "duration_s")
    return sorted(set(zip(*(rows[column][:] for column in columns), strict=True)))


def draw_curve_db(rng: np.random.Generator, tilt_db: float, peak_db: float) -> np.ndarray:
    """Draw an equaliser curve: a tilt, and two broad peaks or dips.

    Args:
        rng: where it is drawn from.
        tilt_db: largest tilt in dB an octave, up or down.
        peak_db: largest height of a peak, or depth of a dip, in dB.

    Returns:
        Gain in dB at each of `CURVE_HZ`.
    """
    octaves = np.log2(CURVE_HZ / _TILT_CENTRE_HZ)
    curve_db = rng.uniform(-tilt_db, tilt_db) * np.clip(octaves, -_TILT_OCTAVES, _TILT_OCTAVES)
    low, high = np.log2(np.array(_PEAK_RANGE_HZ) / _TILT_CENTRE_HZ)
    for _ in range(_NUM_PEAKS):
        centre, width = rng.uniform(low, high), rng.uniform(*_PEAK_OCTAVES)
        height_db = rng.uniform(-peak_db, peak_db)
        curve_db += height_db * np.exp(-0.5 * np.square((octaves - centre) / width))
    return curve_db


#: Frequencies that equaliser curves are given at, in Hz.
CURVE_HZ = np.geomspace(10.0, SAMPLE_RATE / 2, 96)


def equalise(stems: np.ndarray, curves_db: Sequence[np.ndarray]) -> np.ndarray:
    """Give each stem another timbre at the same loudness, so that the balance stays.

    Zero-phase filters, by FFT: the curves are so smooth that their impulse responses are short
    against a chunk, and one transform does for any curve.

    Args:
        stems: float32 of shape `(num_stems, num_samples)`.
        curves_db: for each stem the gain in dB at each of `CURVE_HZ`.

    Returns:
        float32 of the same shape, each stem of the same K-weighted power.
    """
    num_samples = stems.shape[1]
    frequencies, weights = _bins(num_samples)
    equalised = np.zeros_like(stems)
    for index, curve_db in enumerate(curves_db):
        if not stems[index].any():
            continue
        spectrum = scipy.fft.rfft(stems[index])
        gains = np.interp(frequencies, CURVE_HZ, 10.0 ** (curve_db / 20.0)).astype(np.float32)
        powers = weights * np.square(np.abs(spectrum))
        before, after = powers.sum(), np.dot(powers, np.square(gains))
        filtered = scipy.fft.irfft(spectrum * gains, n=num_samples)
        # Nobody hears an offset from zero, so one has no loudness to keep.
        equalised[index] = filtered * np.float32(math.sqrt(before / after) if after else 1.0)
    return equalised


@lru_cache(maxsize=2)
def _bins(num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz of a transform's bins, and how K-weighting weighs power there."""
    frequencies = scipy.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    return frequencies, k_weighting_power(frequencies, SAMPLE_RATE).astype(np.float32)
