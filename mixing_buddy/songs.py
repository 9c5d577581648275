"""Songs on disk in the layout of MUSDB18-HQ or MUSDB18, and checks that say what is wrong.

A source is a folder `<root>/{train,validation,test}/<song>/` with one file a stem,
`{bass,drums,other,vocals}.{wav,flac}`, at any sample rate, mono or stereo; `mixture` may
stand beside them. A song may also be one file `<song>.stem.mp4`. An optional
`<root>/source.yaml` holds `name:`, `licence:` and, for songs with another, `licences:`, a
mapping from song to licence.

MUSDB18 has no validation folder: where a source has none, training songs that the `musdb` package
sets aside (`mixing_buddy.musdb.VALIDATION_SONGS`) are its validation split.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from mixing_buddy.audio import audio_info, read_audio, resample, to_mono
from mixing_buddy.errors import AudioError, SongError
from mixing_buddy.musdb import (
    RESTRICTED,
    STEM_SUFFIX,
    VALIDATION_SONGS,
    check_stem_file,
    is_musdb,
    read_stem,
)
from mixing_buddy.stems import STEMS

#: Sample rate in Hz of everything that the model hears.
SAMPLE_RATE = 24_000

#: Splits that a source may have, in the order in which they are listed.
SPLITS: tuple[str, ...] = ("train", "validation", "test")

_SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class Source:
    """A folder of songs.

    Args:
        name: what recipes call it; the folder's name unless `source.yaml` says otherwise.
        root: the folder.
        licence: licence of its audio: what `source.yaml` says, else restricted for MUSDB18,
            else "unknown".
        licences: licence of songs that have another, by name.
    """

    name: str
    root: Path
    licence: str
    licences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Song:
    """A song and where its stems lie.

    Args:
        name: name of its folder, or of its file without ".stem.mp4".
        split: "train", "validation" or "test"; None for a folder outside any source.
        source: name of the source it belongs to.
        folder: its folder, or its `.stem.mp4` file.
        stem_paths: file of each stem, keys in the order of `STEMS`; one file for all in a
            `.stem.mp4`.
        mixture_path: file of the finished mixture, None where there is none.
        licence: licence of its audio.
    """

    name: str
    split: str | None
    source: str
    folder: Path
    stem_paths: Mapping[str, Path]
    mixture_path: Path | None
    licence: str

    @property
    def artist(self) -> str | None:
        """The artist, where the song is named "Artist - Title" as in MUSDB18."""
        artist, separator, title = self.name.partition(" - ")
        return artist.strip() if separator and artist.strip() and title.strip() else None


def read_source(root: str | os.PathLike[str]) -> Source:
    """Read what a folder of songs says about itself.

    Raises:
        SongError: there is no such folder, or its `source.yaml` is malformed.
    """
    root = _real_path(root)
    if not root.is_dir():
        raise SongError(f"{root}: there is no such folder of songs.")
    description = {}
    file = root / "source.yaml"
    if file.is_file():
        try:
            description = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise SongError(f"{file}: not valid YAML: {error}") from error
        if not _is_description(description):
            raise SongError(
                f"{file}: expected lines like 'name: my-songs' and 'licence: CC0-1.0', and below "
                "'licences:' lines like '  My Song: CC-BY-4.0'."
            )
    name = description.get("name") or root.name
    if "/" in name or "=" in name:
        raise SongError(f"{file}: the name of a source, {name!r}, may hold neither '/' nor '='.")
    names = [name for split in ("train", "validation") for name, _ in _entries(root, split)]
    unsaid = RESTRICTED if is_musdb(root, names) else "unknown"
    return Source(
        name=name,
        root=root,
        licence=description.get("licence") or unsaid,
        licences=description.get("licences") or {},
    )


def find_songs(
    root: str | os.PathLike[str],
    *,
    on_broken: Callable[[Path, SongError], None] | None = None,
) -> list[Song]:
    """List the songs of a source, by split, then by name.

    Files are checked by name and header only; `load_stems` checks what they hold.

    Args:
        root: folder with `train`, `validation` or `test` inside.
        on_broken: called with folder and error of each song that can't be used, which is
            then left out; None raises the first such error.

    Raises:
        SongError: no folder, no songs in it, or (without `on_broken`) a broken song.
    """
    source = read_source(root)
    entries = [(split, *entry) for split in SPLITS for entry in _entries(source.root, split)]
    if not entries:
        hint = (
            " It holds stems itself: it is one song, which belongs into <root>/test/<song>/."
            if any((source.root / f"{STEMS[0]}{suffix}").is_file() for suffix in _SUFFIXES)
            else ""
        )
        raise SongError(
            f"{source.root}: no songs found. Expected <root>/{{train,validation,test}}/<song>/"
            f"{{bass,drums,other,vocals}}.{{wav,flac}} or .../<song>{STEM_SUFFIX}.{hint}"
        )
    songs = []
    for split, name, path in entries:
        try:
            songs.append(_song(path, name=name, split=split, source=source))
        except SongError as error:
            if on_broken is None:
                raise
            on_broken(path, error)
    return songs


def find_song(source: Source, split: str, name: str) -> Song:
    """Find one song of a source.

    Raises:
        SongError: the source has no such song, or it is broken.
    """
    folder = _split_folder(source.root, split)
    # Not by listing: a transform looks up hundreds of songs among hundreds.
    for path in (folder / name, folder / f"{name}{STEM_SUFFIX}"):
        if path.exists() and _split_of(source.root, folder, name) == split:
            return _song(path, name=name, split=split, source=source)
    raise SongError(
        f"{source.root}: no song {name!r} in split {split!r}: is this the folder of songs that "
        f"the recipes of source {source.name!r} were made from?"
    )


def load_song_folder(folder: str | os.PathLike[str]) -> Song:
    """Take a bare folder of four stems as a song that belongs to no split.

    Raises:
        SongError: there is no such folder, or its stems can't be used.
    """
    folder = _real_path(folder)
    if not folder.is_dir():
        raise SongError(f"{folder}: there is no such folder.")
    source = Source(folder.parent.name, folder.parent, "unknown")
    return _song(folder, name=folder.name, split=None, source=source)


def load_stems(song: Song, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read the stems of a song, mix each to mono and resample it.

    A stem that is silent all through is fine (an instrumental has no vocals).

    Args:
        song: from `find_songs` or `load_song_folder`.
        sample_rate: wanted sample rate in Hz.

    Returns:
        float32 of shape `(4, num_samples)`, stems in the order of `STEMS`.

    Raises:
        SongError: a file is unreadable, truncated or empty, holds NaN, differs from the
            others in length or sample rate, or all stems are silent.
    """
    if song.folder.is_dir():
        _check_headers(song.stem_paths, song.folder)
    stems = []
    for stem, path in song.stem_paths.items():
        if path.name.endswith(STEM_SUFFIX):
            audio, rate = read_stem(path, stem)
        else:
            try:
                audio, rate = read_audio(path)
            except AudioError as error:
                raise SongError(str(error)) from error
        stems.append(resample(to_mono(audio), rate, sample_rate))
    if len({len(samples) for samples in stems}) > 1:
        raise SongError(f"{song.folder}: its stems decode to different lengths: copy it again.")
    stacked = np.stack(stems)
    if not stacked.any():
        raise SongError(f"{song.folder}: all four stems are silent. Export the stems again.")
    return stacked


def _real_path(path: str | os.PathLike[str]) -> Path:
    # Not by `Path`'s own methods, which raise at links in a circle and at unknown users' homes.
    return Path(os.path.realpath(os.path.expanduser(path)))


def _is_description(description: object) -> bool:
    """Whether what `source.yaml` holds has the form that `read_source` knows."""
    if not isinstance(description, dict):
        return False
    licences = description.get("licences") or {}
    return (
        all(isinstance(description.get(key) or "", str) for key in ("name", "licence"))
        and isinstance(licences, dict)
        and all(isinstance(text, str) for pair in licences.items() for text in pair)
    )


def _entries(root: Path, split: str) -> Iterator[tuple[str, Path]]:
    """Name and folder (or file) of each song of a split, by name."""
    folder = _split_folder(root, split)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        is_file = path.is_file() and path.name.endswith(STEM_SUFFIX)
        if path.name.startswith(".") or not (is_file or path.is_dir()):
            continue
        name = path.name.removesuffix(STEM_SUFFIX) if is_file else path.name
        if _split_of(root, folder, name) == split:
            yield name, path


def _split_folder(root: Path, split: str) -> Path:
    """Where the songs of a split lie."""
    is_carved = split == "validation" and not (root / "validation").is_dir()
    return root / ("train" if is_carved else split)


def _split_of(root: Path, folder: Path, name: str) -> str:
    """The split of a song in one of a source's folders."""
    is_set_aside = folder.name == "train" and name in VALIDATION_SONGS
    return "validation" if is_set_aside and not (root / "validation").is_dir() else folder.name


def _song(folder: Path, *, name: str, split: str | None, source: Source) -> Song:
    licence = source.licences.get(name, source.licence)
    if folder.is_file():
        check_stem_file(folder)
        stem_paths = dict.fromkeys(STEMS, folder)
        return Song(name, split, source.name, folder, stem_paths, None, licence)
    stem_paths = {}
    missing = []
    for stem in STEMS:
        path = _audio_file(folder, stem)
        if path is None:
            missing.append(stem)
        else:
            stem_paths[stem] = path
    if missing:
        found = ", ".join(path.name for path in stem_paths.values()) or "none"
        raise SongError(
            f"{folder}: no file for {' and '.join(missing)} (found: {found}). A song needs "
            f"{', '.join(STEMS)} as .wav or .flac; a part that the song lacks is a silent file."
        )
    _check_headers(stem_paths, folder)
    return Song(
        name=name,
        split=split,
        source=source.name,
        folder=folder,
        stem_paths=stem_paths,
        mixture_path=_audio_file(folder, "mixture"),
        licence=licence,
    )


def _audio_file(folder: Path, stem: str) -> Path | None:
    paths = [path for suffix in _SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
    if len(paths) > 1:
        raise SongError(
            f"{folder}: both {paths[0].name} and {paths[1].name} are there: keep one of them."
        )
    return paths[0] if paths else None


def _check_headers(stem_paths: Mapping[str, Path], folder: Path) -> None:
    """Raise unless all stems of a song share one sample rate and one length."""
    reference = None
    for path in stem_paths.values():
        try:
            num_samples, rate = audio_info(path)
        except AudioError as error:
            raise SongError(str(error)) from error
        if reference is None:
            reference = (path, num_samples, rate)
            continue
        first, first_samples, first_rate = reference
        if rate != first_rate:
            raise SongError(
                f"{folder}: {first.name} is {first_rate} Hz, {path.name} {rate} Hz: stems of one "
                "song must share a sample rate."
            )
        if num_samples != first_samples:
            raise SongError(
                f"{folder}: {first.name} is {first_samples / rate:.3f} s long ({first_samples} "
                f"samples), {path.name} {num_samples / rate:.3f} s ({num_samples}): export the "
                "stems of one song from the same start to the same end."
            )
