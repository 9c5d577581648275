"""DAWprojects (`.dawproject`): tracks and faders out of them, fader moves and a note into them.

The open exchange format of Bitwig Studio, Studio One and Cubase (https://github.com/bitwig/
dawproject, Project.xsd and MetaData.xsd): a ZIP file with ``project.xml``, ``metadata.xml`` and
audio. Tracks nest, each with a ``Channel`` whose ``Volume`` is the fader, in dB or as a factor.
Python ports of the reference code (``dawproject-py``, on no package index) build the XML anew, in
their own order and spelling; here the text of one attribute for each fader is replaced.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element

from mixing_buddy.errors import ProjectError
from mixing_buddy.workstations.daw_timeline import find_automated, read_clips
from mixing_buddy.workstations.files import apply_edits
from mixing_buddy.workstations.project import FaderMove, Project, Track
from mixing_buddy.workstations.xml_places import PlacedXml
from mixing_buddy.workstations.zip_editing import replace_members

PROJECT = "project.xml"
METADATA = "metadata.xml"

#: Top of a fader that names none: a factor of 2, as Bitwig Studio writes.
_MAX_GAIN = 2.0

#: No project's XML is larger; audio and plugin states are members of their own.
_MAX_XML_BYTES = 256 * 2**20

#: What `zipfile` raises on archives that are damaged or not meant for it.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)

#: Values are written with as many decimals as the reference code writes, more for small ones.
_DECIMALS = 6


def read_dawproject(path: Path) -> Project:
    """Read a project.

    Args:
        path: the file.

    Returns:
        The project; warnings say what it holds that can't be heard without the workstation.

    Raises:
        ProjectError: it is no DAWproject, or it is truncated or damaged.
    """
    xml = PlacedXml(_read_member(path, PROJECT), f"{path}: {PROJECT}")
    if xml.root.tag != "Project":
        raise ProjectError(f"{path}: {PROJECT} holds no Project: this is no DAWproject.")
    tracks: list[Track] = []
    warnings: list[str] = []
    elements = list(_tracks(xml.root))
    numbers = {element: number for number, (element, _) in enumerate(elements, start=1)}
    by_channel = {
        channel.get("id"): numbers[element]
        for element, _ in elements
        if (channel := element.find("Channel")) is not None
    }
    automated = find_automated(xml.root)
    clips, notes = read_clips(xml.root, path)
    for element, around in elements:
        channel = element.find("Channel")
        volume = None if channel is None else channel.find("Volume")
        track = Track(
            numbers[element],
            element.get("name", ""),
            _fader_db(volume),
            tuple(sorted(clips.get(element.get("id"), ()), key=lambda clip: clip.start_s)),
            is_muted=_is_true(channel, "Mute"),
            is_soloed=channel is not None and channel.get("solo") in ("true", "1"),
            parent=_parent(channel, around, by_channel, numbers),
            is_automated=volume is not None and volume.get("id") in automated,
            max_fader_db=_max_db(volume),
        )
        tracks.append(track)
        warnings += _warnings(track, channel, notes.get(element.get("id"), ()))
    warnings += notes.get(None, ())
    for channel in xml.root.findall("Structure/Channel"):
        if channel.get("role") != "master":
            warnings.append(
                f'The bus "{channel.get("name", "")}" belongs to no track; its fader is not heard '
                "here."
            )
    return Project(path, tuple(tracks), _read_comment(path), tuple(warnings))


def write_dawproject(
    path: Path, target: BinaryIO, moves: Sequence[FaderMove], note: str | None
) -> None:
    """Write a copy with faders moved, and a note added to the comment in its metadata.

    Every other byte of the XML stays as it is, and so does every other member of the archive.

    Args:
        path: the project.
        target: where the copy goes, open for writing bytes.
        moves: where faders go.
        note: text to add, None for none.

    Raises:
        ProjectError: it is no DAWproject, or it is damaged, or too large to be changed.
    """
    contents: dict[str, bytes] = {}
    if moves:
        xml = PlacedXml(_read_member(path, PROJECT), f"{path}: {PROJECT}")
        elements = [element for element, _ in _tracks(xml.root)]
        edits = [_move_edit(xml, elements[move.track.number - 1], move) for move in moves]
        contents[PROJECT] = apply_edits(xml.data, edits)
    if note:
        contents[METADATA] = _add_comment(path, note)
    replace_members(path, target, contents)


def _read_member(path: Path, name: str, *, missing: bytes | None = None) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                if missing is None:
                    raise ProjectError(f"{path}: it holds no {name}: this is no DAWproject.")
                return missing
            if archive.getinfo(name).file_size > _MAX_XML_BYTES:
                raise ProjectError(f"{path}: its {name} is too large to be a project's.")
            return archive.read(name)
    except DAMAGED as error:
        raise ProjectError(
            f"{path}: not a readable DAWproject ({error}): it is truncated, damaged or of another "
            "kind. Export it again."
        ) from error


def _tracks(root: Element) -> Iterator[tuple[Element, Element | None]]:
    """Yield tracks in the order of the file, each with the track around it."""
    stack = [(each, None) for each in reversed(root.findall("Structure/Track"))]
    while stack:
        element, around = stack.pop()
        yield element, around
        stack += [(each, element) for each in reversed(element.findall("Track"))]


def _parent(
    channel: Element | None,
    around: Element | None,
    by_channel: Mapping[str | None, int],
    numbers: Mapping[Element, int],
) -> int | None:
    """Number of the track that a track plays into: where its channel goes, else the one around."""
    if channel is not None and channel.get("destination") in by_channel:
        return by_channel[channel.get("destination")]
    return None if around is None else numbers[around]


def _fader_db(volume: Element | None) -> float | None:
    """Where a fader stands in dB; None where there is none, or in a unit without a known scale."""
    return None if volume is None else _to_db(volume, volume.get("value"))


def _max_db(volume: Element | None) -> float:
    top_db = None if volume is None else _to_db(volume, volume.get("max"))
    return 20.0 * math.log10(_MAX_GAIN) if top_db is None else top_db


def _to_db(volume: Element, text: str | None) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    unit = volume.get("unit", "linear")
    if math.isnan(value) or value == math.inf:
        return None
    if unit == "decibel":
        return value
    if unit == "percent":
        value /= 100.0
    elif unit != "linear":
        return None
    return 20.0 * math.log10(value) if value > 0.0 else -math.inf


def _move_edit(xml: PlacedXml, track: Element, move: FaderMove) -> tuple[int, int, bytes]:
    volume = track.find("Channel/Volume")
    unit = volume.get("unit", "linear")
    value = move.new_db
    if unit != "decibel":
        value = 10.0 ** (move.new_db / 20.0) * (100.0 if unit == "percent" else 1.0)
    start, end = xml.attribute_place(volume, "value")
    return start, end, _format(value).encode()


def _format(value: float) -> str:
    """Write a number with at least seven significant digits."""
    small = 0 if value == 0.0 else max(0, -math.floor(math.log10(abs(value))))
    return f"{value:.{_DECIMALS + small}f}"


def _read_comment(path: Path) -> str:
    data = _read_member(path, METADATA, missing=b"<MetaData/>")
    comment = PlacedXml(data, f"{path}: {METADATA}").root.find("Comment")
    return "" if comment is None else comment.text or ""


def _add_comment(path: Path, note: str) -> bytes:
    """The metadata with a note at the end of its comment."""
    data = _read_member(path, METADATA, missing=b'<?xml version="1.0"?>\n<MetaData/>\n')
    xml = PlacedXml(data, f"{path}: {METADATA}")
    comment = xml.root.find("Comment")
    if comment is None:
        # The schema names Comment last.
        edit = xml.append_child_edit(xml.root, "Comment", note)
    else:
        edit = xml.append_text_edit(comment, f"\n{note}" if comment.text else note)
    return apply_edits(data, [edit])


def _is_true(channel: Element | None, name: str) -> bool:
    element = None if channel is None else channel.find(name)
    return element is not None and element.get("value") in ("true", "1")


def _warnings(track: Track, channel: Element | None, notes: Sequence[str]) -> Iterator[str]:
    """Yield what is on a track that can't be heard here."""
    name = track.label[0].upper() + track.label[1:]
    if track.is_automated:
        yield (
            f"{name} has volume automation, which is not heard here: its fader counts all the way "
            "through, and the workstation may follow the automation rather than a moved fader."
        )
    if channel is not None and channel.find("Devices/*") is not None:
        yield f"{name} has plugins, which are not heard here."
    if channel is not None and channel.find("Sends/Send") is not None:
        yield f"{name} sends to other channels, which is not heard here."
    for note in notes:
        yield f"{name} {note}"
