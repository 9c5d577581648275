"""Engineers' balances from tables: a plain one, MixParams, The Mix Evaluation Dataset.

The two data sets give a fader gain and the loudness of the raw track for every track of a mix. A
stem's level is then the power sum of loudness plus gain over its tracks. Gains of buses, plug-ins
and automation are not in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from mixing_buddy.consensus.estimate import (
    ConsensusError,
    EngineerBalance,
    Quantity,
    group_by_song,
)
from mixing_buddy.consensus.tables import numbers, read_table, require_text
from mixing_buddy.stems import STEMS

PLAIN_COLUMNS = ("song", "engineer", "stem", "gain_db")
MIX_EVALUATION_COLUMNS = (
    "song",
    "mix",
    "track",
    "track_type",
    "instrument",
    "fader_gain_db",
    "raw_track_lufs",
)
MIXPARAMS_COLUMNS = (
    "mix_name",
    "song_name",
    "track_name",
    "track_type",
    "track_instrument_type",
    "track_audio_lufs",
    "parameters",
)
#: Stem of each instrument group that the two data sets name.
INSTRUMENT_STEMS: Mapping[str, str] = {
    "VOCALS": "vocals",
    "DRUMS": "drums",
    "BASS": "bass",
    "GUITARS": "other",
    "KEYS": "other",
    "MISC": "other",
}

#: Parts of names that give a stem away, tried in this order ("bass drum" is drums); for guesses
#: in messages only.
_HINTS = (
    ("drums", ("drum", "kick", "snare", "tom", "hat", "cymbal", "perc", "overhead", "clap")),
    ("vocals", ("voc", "vox", "voice", "sing", "choir", "rap")),
    ("bass", ("bass", "sub", "808")),
)


@dataclass(frozen=True)
class EngineerBalances:
    """What a source holds.

    Args:
        balances: one of each engineer and song, sorted by song and engineer.
        quantity: whether levels are gains or loudness with gain.
        notes: what was left out or counted once, to be shown to the user.
    """

    balances: tuple[EngineerBalance, ...]
    quantity: Quantity
    notes: tuple[str, ...] = ()


def read_plain_table(
    path: str | Path, *, stem_names: Mapping[str, str] | None = None
) -> EngineerBalances:
    """Read a CSV or Parquet table with one gain of each song, engineer and stem.

    Args:
        path: file with the columns song, engineer, stem and gain_db; others are ignored.
        stem_names: stem that each other name in the column stem stands for.

    Returns:
        Balances of gains.

    Raises:
        ConsensusError: missing columns, empty or unknown names, a gain that is not a finite number,
            or a stem that one engineer has twice in a song.
    """
    table = read_table(path, PLAIN_COLUMNS)
    require_text(table, ("song", "engineer", "stem"), path)
    gains_db = numbers(table, "gain_db", path)
    stems = _to_stems(table["stem"], dict(zip(STEMS, STEMS, strict=True)), stem_names, path)
    levels: dict[tuple[str, str], dict[str, float]] = {}
    for place, song, engineer, stem, gain_db in zip(
        table.index, table["song"], table["engineer"], stems, gains_db, strict=True
    ):
        mix = levels.setdefault((song, engineer), {})
        if stem in mix:
            raise ConsensusError(
                f"{path}, {place}: a second gain of {stem} by {engineer!r} in {song!r}. There must "
                "be one of each; tracks of one stem need their loudness to be added up."
            )
        mix[stem] = gain_db
    return EngineerBalances(_sorted(levels), "gain")


def read_mix_evaluation(
    path: str | Path, *, stem_names: Mapping[str, str] | None = None
) -> EngineerBalances:
    """Read fader gains and raw loudness of The Mix Evaluation Dataset (De Man and Reiss 2017).

    Args:
        path: ``tracks.csv``, or the folder that holds it.
        stem_names: stem of each instrument that `INSTRUMENT_STEMS` doesn't know.

    Returns:
        Balances of levels in LUFS.

    Raises:
        ConsensusError: missing columns, empty or unknown names, numbers that are not finite on an
            audio track, or one track with two different gains in a mix.
    """
    path = Path(path)
    file = path / "tracks.csv" if path.is_dir() else path
    table = read_table(file, MIX_EVALUATION_COLUMNS)
    return _power_sums(
        table,
        file,
        stem_names,
        "raw_track_lufs",
        lambda audio: numbers(audio, "fader_gain_db", file),
    )


def read_mixparams(
    path: str | Path, *, stem_names: Mapping[str, str] | None = None
) -> EngineerBalances:
    """Read fader gains and raw loudness from MixParams' columns.

    The fader is ``gain`` at the top level of the JSON in ``parameters``; gains inside its ``eq``
    and ``reverb`` are other things. Tracks of one mix lie in all of that data set's splits, so give
    the folder with all of them: a split alone has mixes with tracks missing.

    Args:
        path: a CSV or Parquet file, or a folder with some, however deep.
        stem_names: stem of each instrument type that `INSTRUMENT_STEMS` doesn't know.

    Returns:
        Balances of levels in LUFS.

    Raises:
        ConsensusError: as for `read_mix_evaluation`, or parameters without a gain.
    """
    table = read_table(path, MIXPARAMS_COLUMNS)
    renamed = table.rename(
        columns={
            "song_name": "song",
            "mix_name": "mix",
            "track_name": "track",
            "track_instrument_type": "instrument",
        }
    )
    return _power_sums(
        renamed,
        path,
        stem_names,
        "track_audio_lufs",
        lambda audio: [
            _top_level_gain(text, f"{path}, {at}") for at, text in audio["parameters"].items()
        ],
    )


#: Readers by the name of their format.
READERS: Mapping[str, Callable[..., EngineerBalances]] = {
    "table": read_plain_table,
    "mixparams": read_mixparams,
    "mix-evaluation": read_mix_evaluation,
}


def guess_stem(name: str) -> str:
    """Guess which stem a name stands for: by parts of it, by spelling, else ``other``."""
    plain = name.casefold()
    for stem, parts in _HINTS:
        if any(part in plain for part in parts):
            return stem
    close = get_close_matches(plain, STEMS, n=1)
    return close[0] if close else "other"


def _to_stems(
    names: pd.Series,
    known: Mapping[str, str],
    stem_names: Mapping[str, str] | None,
    path: str | Path,
) -> list[str]:
    """Turn names into stems; one that nobody mapped is an error that shows a guess."""
    stem_names = stem_names or {}
    for name, stem in stem_names.items():
        if stem not in STEMS:
            raise ConsensusError(f"{name}={stem}: {stem!r} is none of {', '.join(STEMS)}.")
    mapping = {name.casefold(): stem for name, stem in (*known.items(), *stem_names.items())}
    unknown = sorted({name for name in names if name.strip().casefold() not in mapping})
    if unknown:
        guesses = " ".join(f'--map "{name}={guess_stem(name)}"' for name in unknown)
        raise ConsensusError(
            f"{path}: {', '.join(map(repr, unknown))} stand for no known stem. If these guesses "
            f"are right, add {guesses}"
        )
    return [mapping[name.strip().casefold()] for name in names]


def _top_level_gain(text: object, where: str) -> float:
    """Fader gain in dB from MixParams' JSON."""
    try:
        parameters = json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError as error:
        raise ConsensusError(f"{where}: parameters are no JSON: {error}") from error
    gain_db = parameters.get("gain") if isinstance(parameters, dict) else None
    if isinstance(gain_db, bool) or not isinstance(gain_db, int | float):
        keys = ", ".join(parameters) if isinstance(parameters, dict) else repr(text)
        raise ConsensusError(
            f"{where}: parameters have no number 'gain' at their top level: {keys}."
        )
    if not math.isfinite(gain_db):
        raise ConsensusError(f"{where}: gain is {gain_db}, not a finite number.")
    return float(gain_db)


def _power_sums(
    table: pd.DataFrame,
    path: str | Path,
    stem_names: Mapping[str, str] | None,
    lufs_column: str,
    read_gains_db: Callable[[pd.DataFrame], Iterable[float]],
) -> EngineerBalances:
    """Sum loudness plus gain in power over the tracks of each stem and mix."""
    notes = []
    # Auxiliary channels and signal generators have no raw audio; they are buses or effects.
    audio = table[table["track_type"] == "AUDIO"].copy()
    if len(audio) < len(table):
        notes.append(f"{len(table) - len(audio)} channels without audio of their own left out")
    require_text(audio, ("song", "mix", "track", "instrument"), path)
    audio["gain_db"] = list(read_gains_db(audio))
    audio["lufs"] = numbers(audio, lufs_column, path)
    audio["stem"] = _to_stems(audio["instrument"], INSTRUMENT_STEMS, stem_names, path)
    track = ["song", "mix", "track"]
    # Workstations give every track its own name: the same row twice is a slip of the table.
    once = audio.drop_duplicates([*track, "gain_db", "lufs", "stem"])
    if len(once) < len(audio):
        notes.append(f"{len(audio) - len(once)} rows that repeat another counted once")
    twice = once[once.duplicated(track)]
    if len(twice):
        place, row = twice.index[0], twice.iloc[0]
        raise ConsensusError(
            f"{path}, {place}: track {row['track']!r} of mix {row['mix']!r} of {row['song']!r} "
            "stands there twice, with different gain, loudness or instrument."
        )
    levels: dict[tuple[str, str], dict[str, float]] = {}
    powers = (10 ** ((once["lufs"] + once["gain_db"]) / 10)).groupby(
        [once["song"], once["mix"], once["stem"]]
    )
    for (song, mix, stem), power in powers.sum().items():
        levels.setdefault((song, mix), {})[stem] = 10 * math.log10(power)
    return EngineerBalances(_sorted(levels), "level", tuple(notes))


def _sorted(levels: Mapping[tuple[str, str], Mapping[str, float]]) -> tuple[EngineerBalance, ...]:
    balances = (EngineerBalance(*key, values) for key, values in levels.items())
    return tuple(b for group in group_by_song(balances).values() for b in group)
