"""Replacing members of a ZIP file, byte for byte the same elsewhere.

`zipfile` can only write an archive anew: it drops what other writers put into local headers, extra
fields and data descriptors, and compresses everything again. Here members that don't change are
copied as they lie in the file, and of the central directory only sizes, check sums and places are
patched. Layout: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central
directory) and 4.3.16 (its end).
"""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mixing_buddy.errors import ProjectError

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_MAX_32 = 0xFFFFFFFF
_HAS_DESCRIPTOR = 0x8


@dataclass
class _Entry:
    """A member, as the central directory knows it.

    Args:
        raw: its entry in the central directory, with names and extra fields.
        start: first byte of its local header in the file.
        end: byte after its data and descriptor.
    """

    raw: bytearray
    start: int
    end: int = 0


def replace_members(source: Path, target: BinaryIO, contents: Mapping[str, bytes]) -> None:
    """Copy an archive, with the contents of some members replaced.

    Args:
        source: the archive.
        target: where the new one goes, open for writing bytes.
        contents: new contents by name of the member; a name that is not there yet is added last.

    Raises:
        ProjectError: the archive is damaged, larger than 4 GB, or a member to be replaced is
            encrypted or compressed by a method other than deflate.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            places = {info.filename: index for index, info in enumerate(archive.infolist())}
            directory_start = archive.start_dir
        with source.open("rb") as file:
            entries, end_record, shift = _read_directory(file, directory_start, source)
            _copy(file, target, 0, min((e.start for e in entries), default=directory_start))
            news = {places[name]: data for name, data in contents.items() if name in places}
            starts = {}
            for index in sorted(range(len(entries)), key=lambda each: entries[each].start):
                entry = entries[index]
                starts[index] = target.tell() - shift
                if index in news:
                    _write_member(file, target, entry, news[index], source)
                else:
                    _copy(file, target, entry.start, entry.end)
            for name, data in contents.items():
                if name not in places:
                    starts[len(entries)] = target.tell() - shift
                    entries.append(_add_member(target, name, data))
    except (zipfile.BadZipFile, struct.error, UnicodeDecodeError) as error:
        raise ProjectError(f"{source}: the archive is damaged ({error}). Save it again.") from error
    new_start = target.tell() - shift
    for index, entry in enumerate(entries):
        struct.pack_into("<I", entry.raw, 42, starts[index])
        target.write(entry.raw)
    count, size = len(entries), target.tell() - shift - new_start
    if target.tell() > _MAX_32 or count >= 0xFFFF:
        raise ProjectError(f"{source}: the archive is too large: advice fits into up to 4 GB.")
    patched = bytearray(end_record)
    struct.pack_into("<2H2I", patched, 8, count, count, size, new_start)
    target.write(patched)


def _read_directory(
    file: BinaryIO, directory_start: int, source: Path
) -> tuple[list[_Entry], bytes, int]:
    """The entries, the end record with its comment, and how far places are off."""
    file.seek(directory_start)
    rest = file.read()
    entries, place = [], 0
    while rest[place : place + 4] == b"PK\x01\x02":
        fields = _CENTRAL.unpack_from(rest, place)
        size = _CENTRAL.size + sum(fields[10:13])
        entries.append(_Entry(bytearray(rest[place : place + size]), fields[16]))
        place += size
    end = rest.find(b"PK\x05\x06", place)
    if end != place:
        # A ZIP64 record, or a signature, lies between the directory and its end.
        raise ProjectError(
            f"{source}: a ZIP64 or signed archive: save it smaller than 4 GB and unsigned."
        )
    *_, directory_offset, _ = _END.unpack_from(rest, end)
    shift = directory_start - directory_offset
    for entry in entries:
        entry.start += shift
    ordered = sorted(entries, key=lambda entry: entry.start)
    for entry, following in zip(ordered, [*ordered[1:], None], strict=True):
        entry.end = directory_start if following is None else following.start
    return entries, rest[end:], shift


def _write_member(
    file: BinaryIO, target: BinaryIO, entry: _Entry, data: bytes, source: Path
) -> None:
    """Write a member anew: same name, time and method, other contents."""
    file.seek(entry.start)
    fields = list(_LOCAL.unpack(file.read(_LOCAL.size)))
    names = file.read(fields[9] + fields[10])
    flags, method = fields[2], fields[3]
    if flags & 0x1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ProjectError(
            f"{source}: its project is encrypted or packed by method {method}: save it again."
        )
    packed = data if method == zipfile.ZIP_STORED else _deflate(data)
    flags &= ~_HAS_DESCRIPTOR
    fields[2], fields[6:9] = flags, (zlib.crc32(data), len(packed), len(data))
    target.write(_LOCAL.pack(*fields) + names + packed)
    struct.pack_into("<H", entry.raw, 8, flags)
    struct.pack_into("<3I", entry.raw, 16, *fields[6:9])


def _add_member(target: BinaryIO, name: str, data: bytes) -> _Entry:
    """Write a new member: deflated, without a time (the first day that ZIP knows)."""
    packed, raw_name = _deflate(data), name.encode()
    common = (20, 0x800, zipfile.ZIP_DEFLATED, 0, 0x21, zlib.crc32(data), len(packed), len(data))
    target.write(_LOCAL.pack(b"PK\x03\x04", *common, len(raw_name), 0) + raw_name + packed)
    raw = _CENTRAL.pack(b"PK\x01\x02", 20, *common, len(raw_name), 0, 0, 0, 0, 0, 0)
    return _Entry(bytearray(raw + raw_name), 0)


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _copy(file: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    """Copy a part of a file in small pieces."""
    file.seek(start)
    while start < end:
        piece = file.read(min(end - start, shutil.COPY_BUFSIZE))
        if not piece:
            raise zipfile.BadZipFile("it ends before its directory says")
        target.write(piece)
        start += len(piece)
