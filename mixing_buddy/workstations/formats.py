"""The workstations' files, whichever their format: read a project, write advice into it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mixing_buddy.errors import OutputError, ProjectError
from mixing_buddy.files import open_to_replace
from mixing_buddy.workstations.dawproject import read_dawproject, write_dawproject
from mixing_buddy.workstations.project import FaderMove, Project, plan_moves
from mixing_buddy.workstations.reaper import edit_reaper, read_reaper

#: Suffixes of the projects that can be read.
SUFFIXES = (".rpp", ".dawproject")


def is_project(path: str | os.PathLike[str]) -> bool:
    """Whether a file is named like a project that can be read."""
    return Path(path).suffix.lower() in SUFFIXES


def read_project(path: str | os.PathLike[str]) -> Project:
    """Read a REAPER project (`.rpp`) or a DAWproject (`.dawproject`).

    Args:
        path: the file.

    Returns:
        Its tracks, with faders and clips.

    Raises:
        ProjectError: there is no such file, it has another suffix, or it can't be read.
    """
    path = Path(os.path.expanduser(path))
    if not is_project(path):
        raise ProjectError(f"{path}: not a project: give a file {' or '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ProjectError(f"{path}: there is no such file.")
    try:
        if path.suffix.lower() == ".rpp":
            return read_reaper(path.read_bytes(), path)
        return read_dawproject(path)
    except OSError as error:
        raise ProjectError(f"{path}: can't be read ({error.strerror}).") from error


def write_advice(
    project: Project,
    changes_db: Mapping[int, float],
    out: str | os.PathLike[str],
    note: str | None = None,
) -> list[FaderMove]:
    """Write a copy of a project with its faders moved; nothing else in it changes.

    Args:
        project: from `read_project`.
        changes_db: change in dB by number of the track; 0 leaves a track's bytes alone.
        out: the copy, of the same suffix; it appears when it is complete.
        note: text for the project's notes (REAPER) or the comment in its metadata (DAWproject).

    Returns:
        The moves that were made, those that came to the end of a fader among them.

    Raises:
        ProjectError: a track is not there or has no fader, or the project changed since.
        OutputError: `out` is the project itself, of another format, or can't be written.
    """
    out = Path(os.path.expanduser(out))
    if out.suffix.lower() != project.path.suffix.lower():
        raise OutputError(f"{out}: name it {project.path.suffix}, like {project.path.name}.")
    if out.exists() and out.samefile(project.path):
        raise OutputError(f"{out}: this would replace the project itself: give another name.")
    if read_project(project.path) != project:
        raise ProjectError(f"{project.path}: it was saved again meanwhile: ask for advice anew.")
    moves = plan_moves(project, changes_db)
    with open_to_replace(out) as file:
        if project.path.suffix.lower() == ".rpp":
            data = project.path.read_bytes()
            file.write(edit_reaper(data, project.path, moves, note))
        else:
            write_dawproject(project.path, file, moves, note)
    return moves
