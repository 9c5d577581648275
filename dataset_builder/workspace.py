"""The hidden folder beside a dataset in which it is built, kept when a build is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from mixing_buddy.dataset_builder.report import SongReport
from mixing_buddy.errors import OutputError

# Workers of a build that was killed take a second to notice.
_LOCK_TIMEOUT_S = 5.0


class Workspace:
    """What a build has done so far: rows and report of each song, whole or not there.

    Args:
        out: folder of the dataset that is built.
        fingerprint: of all that its rows depend on; what a build with another one left is
            thrown away.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.out = out
        self.fingerprint = fingerprint
        self.root = out.with_name(f".{out.name}.building")
        self.songs = self.root / "songs"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder for one build.

        It is removed at the end and on an error, but stays when the process is killed or
        interrupted: the next build then goes on from it.

        Raises:
            OutputError: another build into the same place is on.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.root / "lock")
        try:
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except filelock.Timeout as error:
            raise OutputError(
                f"{self.out}: another build into this folder is on (it holds {lock.lock_file}): "
                "wait for it, or name a new folder."
            ) from error
        try:
            # A build that we waited for has removed it.
            self.root.mkdir(exist_ok=True)
            self._restore_old()
            self._start_or_resume()
            yield
        except Exception:
            shutil.rmtree(self.root, ignore_errors=True)
            raise
        else:
            shutil.rmtree(self.root, ignore_errors=True)
        finally:
            lock.release()

    def song_folder(self, key: str) -> Path:
        """Where the rows of a finished song lie."""
        return self.songs / key

    def report_of(self, key: str) -> SongReport | None:
        """The report of a song, None if it is not finished."""
        file = self.song_folder(key) / "report.json"
        return SongReport(**json.loads(file.read_text("utf-8"))) if file.is_file() else None

    @contextmanager
    def finishing(self, key: str) -> Iterator[Path]:
        """Give a folder for the files of a song, which appear as its own all at once."""
        part = self.root / f"part-{key}-{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        try:
            part.rename(self.song_folder(key))
        except OSError:
            # A worker of a build that was killed got there first, with the same rows.
            if not (self.song_folder(key) / "report.json").is_file():
                raise
            shutil.rmtree(part)

    def fresh(self) -> Path:
        """Give an empty folder for the dataset."""
        new = self.root / "new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        return new

    def publish(self) -> None:
        """Put what `fresh` gave in the place of the dataset."""
        old = self.root / "old"
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        (self.root / "new").rename(self.out)

    def _restore_old(self) -> None:
        """Put back the earlier dataset if a build was killed in the middle of `publish`."""
        old = self.root / "old"
        if old.is_dir() and not self.out.exists():
            old.rename(self.out)

    def _start_or_resume(self) -> None:
        note = self.root / "fingerprint.json"
        current: Any = {"fingerprint": self.fingerprint}
        if not note.is_file() or json.loads(note.read_text("utf-8") or "null") != current:
            for path in self.root.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
            note.write_text(json.dumps(current), encoding="utf-8")
        self.songs.mkdir(exist_ok=True)
        for path in self.root.glob("part-*"):
            shutil.rmtree(path, ignore_errors=True)
