"""What MUSDB18 brings beside its folders: validation songs, licence and `.stem.mp4` files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mixing_buddy.errors import SongError

#: Training songs that the `musdb` package sets aside for validation (`validation_tracks` in its
#: configs/mus.yaml, version 0.4.3).
VALIDATION_SONGS: frozenset[str] = frozenset(
    {
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    }
)

#: Licence of a song of MUSDB18 of which nothing else is said. Some of its songs are under Creative
#: Commons licences; `licences:` in `source.yaml` says so song by song.
RESTRICTED = "restricted (MUSDB18: academic use, no redistribution)"

#: Ending of a song's file.
STEM_SUFFIX = ".stem.mp4"

#: Number of each stem's stream in a `.stem.mp4` file; 0 is the mixture.
_STREAMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4}


def is_musdb(root: Path, names: Iterable[str]) -> bool:
    """Recognise MUSDB18 or MUSDB18-HQ by its folder's name or its validation songs."""
    return root.name.lower().startswith("musdb18") or not VALIDATION_SONGS.isdisjoint(names)


def check_stem_file(path: Path) -> None:
    """Check the header of a `.stem.mp4` file.

    Raises:
        SongError: what reads it is not installed, or the file is damaged or holds other streams
            than MUSDB18's five.
    """
    num_streams = _info(path).nb_audio_streams
    if num_streams != 5:
        raise SongError(
            f"{path}: {num_streams} audio streams, expected 5 (mixture, drums, bass, other, "
            "vocals): is this a song of MUSDB18?"
        )


def read_stem(path: Path, stem: str) -> tuple[np.ndarray, int]:
    """Read one stem of a `.stem.mp4` file.

    Returns:
        float32 of shape `(num_channels, num_samples)`, and the sample rate in Hz.

    Raises:
        SongError: as in `check_stem_file`, or the stem can't be decoded to its end.
    """
    info = _info(path)
    import stempeg

    stream = _STREAMS[stem]
    # One at a time: five streams of four minutes would take half a gigabyte.
    frames, sample_rate = stempeg.read_stems(
        str(path), stem_id=info.audio_streams[stream]["index"], dtype=np.float32, info=info
    )
    frames = frames.reshape(-1, info.channels(stream))
    promised_s = info.duration(stream)
    # ffmpeg goes on past what it can't read; encoders pad by a few thousand samples.
    if abs(len(frames) / sample_rate - promised_s) > 0.25:
        raise SongError(
            f"{path}: its header promises {promised_s:.2f} s of {stem}, "
            f"{len(frames) / sample_rate:.2f} s could be decoded. It is damaged: copy it again."
        )
    return np.ascontiguousarray(frames.T), int(sample_rate)


def _info(path: Path):
    """What ffprobe says of a file, as a ``stempeg.Info``."""
    try:
        import ffmpeg
        import stempeg
    except ImportError as error:
        raise SongError(
            f"{path}: reading .stem.mp4 files needs more packages: "
            'pip install "mixing-buddy[musdb]". MUSDB18-HQ, in WAV files, needs none.'
        ) from error
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        raise SongError(
            f"{path}: reading .stem.mp4 files needs the programs ffmpeg and ffprobe: install "
            "ffmpeg (Debian, Ubuntu: apt-get install ffmpeg). MUSDB18-HQ, in WAV files, needs none."
        )
    try:
        return stempeg.Info(str(path))
    except ffmpeg.Error as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise SongError(
            f"{path}: the file can't be opened ({' '.join(reason)}). It is truncated, damaged or "
            "no audio: copy it again."
        ) from error
