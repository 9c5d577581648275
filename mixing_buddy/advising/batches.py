"""Advice on a folder of songs: a line of JSON for each, added as songs are done."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixing_buddy.advising.inputs import AUDIO_SUFFIXES
from mixing_buddy.errors import OutputError, SongError
from mixing_buddy.files import check_replaceable, refusing, write_whole


def find_songs(folder: str | os.PathLike[str]) -> list[Path]:
    """Find the songs of a folder.

    Args:
        folder: holds mixes, or folders of tracks at any depth. A folder below it that has audio
            files is one song.

    Returns:
        Mixes and folders of tracks, by path.

    Raises:
        SongError: there is no such folder, or no song in it.
    """
    root = Path(os.path.expanduser(folder))
    if not root.is_dir():
        raise SongError(f"{root}: there is no such folder.")
    songs: list[Path] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        audio = [
            Path(place, name)
            for name in names
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".")
        ]
        if Path(place) == root:
            songs += audio
        elif audio:
            songs.append(Path(place))
            folders.clear()
    if not songs:
        raise SongError(
            f"{root}: no songs: looked for mixes, and for folders of tracks at any depth "
            f"({', '.join(AUDIO_SUFFIXES)})."
        )
    return sorted(songs)


class AdviceFile:
    """Advice on songs, line by line, in a file that a later run goes on with.

    A line that was broken off is dropped, and so are songs that failed: they are tried again.

    Args:
        path: the file; made where there is none.
        asked: with which settings songs are advised on, as JSON types.

    Raises:
        OutputError: the file can't be read or written, holds something else, or advice that was
            given with other settings.
    """

    def __init__(self, path: str | os.PathLike[str], asked: Mapping[str, Any]):
        self.path = Path(os.path.expanduser(path))
        self.asked = dict(asked)
        #: The songs that are done.
        self.done: set[str] = set()
        with refusing(self.path):
            check_replaceable(self.path)
            lines = self._read()
        write_whole(self.path, "".join(line + "\n" for line in lines))

    def add(self, song: Path, told: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            OutputError: the file can't be written.
        """
        # In ASCII: a path may hold what no encoding of a file can.
        line = json.dumps({"asked": self.asked, "song_path": str(song), **told}, allow_nan=False)
        with refusing(self.path), self.path.open("a", encoding="ascii") as file:
            file.write(line + "\n")
        self.done.add(str(song))

    def _read(self) -> list[str]:
        """Return the lines that are kept."""
        if not self.path.exists():
            return []
        lines = self.path.read_text("utf-8", "replace").split("\n")
        kept = []
        for number, line in enumerate(lines, 1):
            if number == len(lines):
                break  # Nothing, or what a run was writing when it was broken off.
            try:
                row = json.loads(line)
                asked, song = row["asked"], row["song_path"]
            except (ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"{self.path}, line {number}: this is no advice on a song. Name another file."
                ) from error
            if asked != self.asked:
                names = [name for name in self.asked if asked.get(name) != self.asked[name]]
                raise OutputError(
                    f"{self.path} holds advice given with other settings "
                    f"({', '.join(names) or 'unknown ones'}). Name another file, or delete it."
                )
            if "error" not in row:
                kept.append(line)
                self.done.add(song)
        return kept
