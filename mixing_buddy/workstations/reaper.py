"""REAPER projects (`.RPP`): tracks, faders and clips out of them, fader moves and a note into them.

What is known of the statements comes from the collected "State Chunk Definitions" of REAPER's
users (https://github.com/ReaTeam/Doc) and from WDL, REAPER's own library. Read are, of a track:
``NAME``, ``VOLPAN`` (the first number is the fader, as a factor: 1 is 0 dB), ``MUTESOLO``,
``ISBUS`` (folders), ``AUTOMODE`` and volume envelopes; of an item: ``POSITION``, ``LENGTH``,
``LOOP``, ``MUTE``, fades, and of its active take gain, ``SOFFS``, ``PLAYRATE`` and source, through
``<SOURCE SECTION`` if need be. See `rpp_syntax` on why no library does the reading.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from mixing_buddy.workstations.files import apply_edits
from mixing_buddy.workstations.project import MAX_SPEED, MIN_SPEED, Clip, FaderMove, Project, Track
from mixing_buddy.workstations.rpp_syntax import Block, Line, line_end_of, parse_rpp

#: Top of REAPER's faders as it is installed (Preferences, Track/Send Defaults: -72 to +12 dB).
MAX_FADER_DB = 12.0

#: REAPER writes volumes with up to so many decimals.
_DECIMALS = 14

_ENVELOPES = ("VOLENV", "VOLENV2", "VOLENV3")
_PLUGINS = ("VST", "AU", "JS", "DX", "LV2", "CLAP", "VIDEO_EFFECT", "CONTAINER")
_INSTRUMENT_SOURCES = ("MIDI", "MIDIPOOL")
_SILENT_SOURCES = ("EMPTY", "CLICK", "LTC", "VIDEOEFFECT")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def read_reaper(data: bytes, path: Path) -> Project:
    """Read a project.

    Args:
        data: the bytes of the file.
        path: the file; audio is looked for beside it.

    Returns:
        The project; warnings say what it holds that can't be heard without REAPER.

    Raises:
        ProjectError: it is no REAPER project, or it is truncated or damaged.
    """
    root = parse_rpp(data, path)
    reader = _Reader(path, root)
    tracks, folders = [], []
    for number, block in enumerate(root.blocks("TRACK"), start=1):
        tracks.append(reader.read_track(block, number, folders[-1] if folders else None))
        change = round(block.number("ISBUS", 2, 0.0))
        if change > 0:
            folders.append(number)
        elif change < 0:
            del folders[change:]
    return Project(path, tuple(tracks), _read_notes(data, root), tuple(reader.warnings))


def edit_reaper(data: bytes, path: Path, moves: Sequence[FaderMove], note: str | None) -> bytes:
    """Move faders, and add a note to the project's notes; every other byte stays as it is.

    Args:
        data: the bytes of the file.
        path: the file, for messages.
        moves: where faders go.
        note: lines to add to the project's notes, None for none.

    Returns:
        The bytes of the new file.

    Raises:
        ProjectError: it is no REAPER project, or it is truncated or damaged.
    """
    root = parse_rpp(data, path)
    line_end = line_end_of(data)
    blocks = list(root.blocks("TRACK"))
    edits: list[tuple[int, int, bytes]] = []
    for move in moves:
        block = blocks[move.track.number - 1]
        volume = format_gain(10.0 ** (move.new_db / 20.0)).encode()
        line = block.line("VOLPAN")
        if line is not None:
            word = line.words[1]
            sign = b"-" if word.text.startswith("-") else b""
            edits.append((word.start, word.end, sign + volume))
        else:
            after = block.line("NAME") or block.head
            indent = _indent(data, block.head) + b"  "
            text = indent + b"VOLPAN " + volume + b" 0 -1 -1 1" + line_end
            edits.append((after.end, after.end, text))
    if note:
        edits.append(_note_edit(data, root, note, line_end))
    return apply_edits(data, edits)


def format_gain(gain: float) -> str:
    """Write a factor as REAPER does: up to 14 decimals, no zeros at the end."""
    return f"{gain:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def _read_notes(data: bytes, root: Block) -> str:
    block = next(root.blocks("NOTES"), None)
    if block is None:
        return ""
    raw = [data[line.start : line.end] for line in block.children if isinstance(line, Line)]
    lines = [line.rstrip(b"\r\n").lstrip(b" \t").removeprefix(b"|") for line in raw]
    return b"\n".join(lines).decode("utf-8", "replace")


def _note_edit(data: bytes, root: Block, note: str, line_end: bytes) -> tuple[int, int, bytes]:
    indent = _indent(data, root.head) + b"  "
    lines = [indent + b"  |" + line.encode("utf-8", "replace") for line in note.splitlines()]
    block = next(root.blocks("NOTES"), None)
    if block is not None:
        if block.children:
            lines.insert(0, indent + b"  |")
        return block.end, block.end, b"".join(line + line_end for line in lines)
    lines = [indent + b"<NOTES 0 2", *lines, indent + b">"]
    return root.head.end, root.head.end, b"".join(line + line_end for line in lines)


def _indent(data: bytes, line: Line) -> bytes:
    text = data[line.start : line.end]
    return text[: len(text) - len(text.lstrip(b" \t"))]


class _Reader:
    """Reads tracks, and gathers what to warn of.

    Args:
        path: the project.
        root: its outermost block.
    """

    def __init__(self, path: Path, root: Block):
        self.folder = path.parent
        record = root.line("RECORD_PATH")
        folders = [] if record is None else [word.text for word in record.words[1:]]
        self.media_folders = [self.folder / _portable(each) for each in folders if each]
        self.warnings: list[str] = []

    def read_track(self, block: Block, number: int, parent: int | None) -> Track:
        name = block.line("NAME")
        text = name.words[1].text if name is not None and len(name.words) > 1 else ""
        # A track without VOLPAN stands at 0 dB; one whose VOLPAN is no number can't be moved.
        volume = block.number("VOLPAN", 1, 1.0 if block.line("VOLPAN") is None else math.nan)
        track = Track(
            number,
            text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            None if math.isnan(volume) else _to_db(volume),
            is_muted=block.number("MUTESOLO", 1, 0.0) != 0.0,
            is_soloed=block.number("MUTESOLO", 2, 0.0) != 0.0,
            parent=parent,
            is_automated=any(map(_is_active, block.blocks(*_ENVELOPES))),
            max_fader_db=MAX_FADER_DB,
        )
        self._warn_of_track(block, track)
        clips = [clip for item in block.blocks("ITEM") for clip in self._read_item(item, track)]
        inverted = block.number("IPHASE", 1, 0.0) != 0.0
        if inverted != (volume < 0.0):
            clips = [replace(clip, is_inverted=not clip.is_inverted) for clip in clips]
        return replace(track, files=tuple(sorted(clips, key=lambda clip: clip.start_s)))

    def _warn_of_track(self, block: Block, track: Track) -> None:
        def warn(text: str) -> None:
            self.warnings.append(f"{track.label[0].upper()}{track.label[1:]} {text}")

        if track.is_automated:
            effect = (
                "comes on top of the automation"
                if block.number("AUTOMODE", 1, 0.0) == 0.0
                else "has no effect while the envelope plays (automation mode is not trim/read)"
            )
            warn(
                "has a volume envelope, which is not heard here: its fader counts all the way "
                f"through, and a move of the fader {effect}."
            )
        chains = [*block.blocks("FXCHAIN")]
        chains += [fx for item in block.blocks("ITEM") for fx in item.blocks("TAKEFX")]
        if any(True for chain in chains for _ in chain.blocks(*_PLUGINS)):
            warn("has plugins, which are not heard here.")
        if block.line("AUXRECV") is not None:
            warn("receives other tracks, which is not heard here.")
        if block.number("MAINSEND", 1, 1.0) == 0.0:
            warn("doesn't go to its parent or the master; it is heard here as if it did.")
        if block.number("FREEMODE", 1, 0.0) == 2.0:
            warn("has fixed item lanes; all its lanes are heard here, whichever play.")

    def _read_item(self, item: Block, track: Track) -> list[Clip]:
        if item.number("MUTE", 1, 0.0) != 0.0:
            return []
        takes = _split_takes(item)
        trim = abs(item.number("VOLPAN", 1, 1.0))
        if item.number("ALLTAKES", 1, 0.0) == 0.0:
            chosen = [take for take in takes if _is_chosen(take)] or takes[:1]
        else:
            chosen = takes
        return [clip for take in chosen for clip in self._read_take(item, take, trim, track)]

    def _read_take(self, item: Block, take: Block, trim: float, track: Track) -> list[Clip]:
        start_s, length_s = item.number("POSITION", 1, 0.0), item.number("LENGTH", 1, 0.0)
        where = f"{track.label[0].upper()}{track.label[1:]}: the item at {start_s:.2f} s"
        source = next(take.blocks("SOURCE"), None)
        if source is None or length_s <= 0.0:
            return []
        offset_s, loop_s = take.number("SOFFS", 1, 0.0), (0.0, None)
        while _source_type(source) == "SECTION" and (inner := next(source.blocks("SOURCE"), None)):
            mode = round(source.number("MODE", 1, 0.0))
            if mode & 2:
                self.warnings.append(f"{where} is reversed; it is heard forwards here.")
            section_s = source.number("LENGTH", 1, 0.0)
            if not mode & 1 and section_s > 0.0:
                begin_s = source.number("STARTPOS", 1, 0.0)
                offset_s, loop_s = offset_s + begin_s, (begin_s, begin_s + section_s)
            source = inner
        kind, file = _source_type(source), source.line("FILE")
        if kind in _INSTRUMENT_SOURCES:
            self.warnings.append(
                f"{where} is MIDI: its instrument can't be heard here. Render the track to audio."
            )
        if kind in (*_INSTRUMENT_SOURCES, *_SILENT_SOURCES):
            return []
        if kind in ("RPP_PROJECT", "VIDEO") or kind.startswith("_OFFLINE") or file is None:
            self.warnings.append(f"{where} can't be heard here (its source is {kind}).")
            return []
        if any(map(_is_active, take.blocks("VOLENV"))):
            self.warnings.append(f"{where} has a volume envelope, which is not heard here.")
        speed = take.number("PLAYRATE", 1, 1.0)
        if not MIN_SPEED <= speed <= MAX_SPEED:
            self.warnings.append(f"{where} plays at {speed:.4g} times its speed: it is left out.")
            return []
        if abs(speed - 1.0) > 1e-6:
            self.warnings.append(
                f"{where} plays at {speed:.4g} times its speed; it is heard here without pitch "
                "correction."
            )
        gain = trim * _take_gain(take)
        clip = Clip(
            self._find_audio(file.words[1].text if len(file.words) > 1 else ""),
            start_s,
            offset_s,
            length_s,
            _to_db(gain),
            is_inverted=gain < 0.0,
            speed=speed,
            loop_s=loop_s if item.number("LOOP", 1, 0.0) != 0.0 else None,
            fade_in_s=max(0.0, item.number("FADEIN", 2, 0.0)),
            fade_out_s=max(0.0, item.number("FADEOUT", 2, 0.0)),
        )
        return [clip]

    def _find_audio(self, name: str) -> Path:
        """Where a file is: as the project says, else beside it or in its folder of recordings."""
        path = self.folder / _portable(name)
        if not path.is_file():
            base = PureWindowsPath(name).name
            for folder in (self.folder, *self.media_folders):
                if base and (folder / base).is_file():
                    return folder / base
        return path


def _split_takes(item: Block) -> list[Block]:
    """The takes of an item: what is said before the first ``TAKE`` line is the first one's."""
    takes = [Block(item.head)]
    for child in item.children:
        if isinstance(child, Line) and child.name == "TAKE":
            takes.append(Block(child))
        else:
            takes[-1].children.append(child)
    return takes


def _is_chosen(take: Block) -> bool:
    return take.name == "TAKE" and any(word.text == "SEL" for word in take.head.words[1:])


def _take_gain(take: Block) -> float:
    """Volume of a take as a factor, negative where its polarity is turned round."""
    if take.name == "TAKE":
        return take.number("TAKEVOLPAN", 2, 1.0)
    return take.number("VOLPAN", 3, 1.0)


def _source_type(source: Block) -> str:
    return source.head.words[1].text if len(source.head.words) > 1 else ""


def _is_active(envelope: Block) -> bool:
    """Whether an envelope is in force and does anything at all."""
    points = list(envelope.lines("PT"))
    is_flat = all(point.number_at(2, 1.0) == 1.0 for point in points)
    return envelope.number("ACT", 1, 1.0) != 0.0 and not is_flat


def _to_db(gain: float) -> float:
    return 20.0 * math.log10(abs(gain)) if gain else -math.inf


def _portable(name: str) -> str:
    """A Windows path in the form that every system reads, where it is one."""
    if _WINDOWS_PATH.match(name) or ("\\" in name and "/" not in name):
        return name.replace("\\", "/")
    return name
