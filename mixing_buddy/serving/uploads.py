"""Taking a request in: a multipart body is written, as it comes, to a folder of its own."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from mixing_buddy.advising.inputs import AUDIO_SUFFIXES
from mixing_buddy.serving.limits import IDLE_S, MAX_FIELD_BYTES, MAX_FIELDS, Limits, Refusal

#: Fields that are files, and fields that are text.
FILE_FIELDS = ("mix", "tracks")
TEXT_FIELDS = ("anchor", "abstain_below", "mapping")

#: Longest name of a file that all usual file systems take, in bytes.
_MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class Upload:
    """What a request held.

    Args:
        song: the mix's file, or the folder of the tracks.
        is_mix: which of them it is.
        anchor: the stem to take as right, None for each in turn.
        abstain_below: confidence below which nothing is advised.
        mapping: corrections of the form "FILE=STEM".
    """

    song: Path
    is_mix: bool
    anchor: str | None = None
    abstain_below: float = 0.0
    mapping: tuple[str, ...] = ()


async def receive(
    headers: Mapping[str, str], body: AsyncIterator[bytes], folder: Path, limits: Limits
) -> Upload:
    """Write the files of a multipart body into a folder, and read its options.

    Args:
        headers: of the request, by small letters.
        body: the request's bytes as they come.
        folder: an empty folder that belongs to this request alone.
        limits: what the request may hold; bytes and files are counted as they come.

    Raises:
        Refusal: the body is malformed, too large, too slow, or its options are wrong.
    """
    kind, parameters = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in parameters:
        raise Refusal(415, "Send a form with files (multipart/form-data).")
    told = headers.get("content-length", "")
    limits.check_bytes(int(told) if told.isdigit() else 0)
    parts = _Parts(folder, limits)
    num_bytes = 0
    try:
        parser = MultipartParser(parameters[b"boundary"], parts.callbacks())
        chunks = aiter(body)
        while True:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            num_bytes += len(chunk)
            limits.check_bytes(num_bytes)
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
    except TimeoutError:
        raise Refusal(408, f"Nothing came for {IDLE_S:g} s: send the form again.") from None
    except FormParserError as error:
        raise Refusal(400, f"The form can't be read: {error}") from error
    finally:
        parts.close()
    if not parts.is_complete:
        raise Refusal(400, "The form ends in the middle: send it again.")
    return parts.to_upload()


def plain_name(name: str) -> str:
    """The last part of a client's file name: the only part that is used.

    Raises:
        Refusal: nothing usable is left, or it is not the name of an audio file.
    """
    last = re.split(r"[/\\]", name)[-1]
    is_odd = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in last)
    if is_odd or len(last.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        raise Refusal(
            400, f"{last[:40]!r}: too long or odd a name for a file: give it a plain one."
        )
    if last.startswith(".") or Path(last).suffix.lower() not in AUDIO_SUFFIXES:
        raise Refusal(
            415,
            f"{last!r} is not the name of an audio file: it must end in one of "
            f"{', '.join(AUDIO_SUFFIXES)}.",
        )
    return last


@dataclass
class _Parts:
    """Takes the parts of a body from the parser: files go to the folder, text is kept."""

    folder: Path
    limits: Limits
    mixes: list[Path] = field(default_factory=list)
    tracks: list[Path] = field(default_factory=list)
    texts: list[tuple[str, bytearray]] = field(default_factory=list)
    is_complete: bool = False
    _file: BinaryIO | None = None
    _header: tuple[bytes, bytes] = (b"", b"")
    _disposition: bytes = b""

    def callbacks(self) -> dict:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self.close,
            "on_end": self._complete,
        }

    def close(self) -> None:
        """Close the file of the part at hand."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def to_upload(self) -> Upload:
        """What the parts say together.

        Raises:
            Refusal: there is no song, or more than one, or an option is wrong.
        """
        if len(self.mixes) > 1 or bool(self.mixes) == bool(self.tracks):
            raise Refusal(
                400, "Send either one file as `mix`, or the stems or tracks of a song as `tracks`."
            )
        anchors = [text for text in self._values("anchor") if text]
        shares = [text for text in self._values("abstain_below") if text]
        if len(anchors) > 1 or len(shares) > 1:
            raise Refusal(400, "`anchor` and `abstain_below` can be given once.")
        try:
            abstain_below = float(shares[0]) if shares else 0.0
        except ValueError:
            abstain_below = -1.0
        if not 0.0 <= abstain_below <= 1.0:
            raise Refusal(400, f"abstain_below is {shares[0]!r}: give a number from 0 to 1.")
        return Upload(
            song=self.mixes[0] if self.mixes else self.folder,
            is_mix=bool(self.mixes),
            anchor=anchors[0] if anchors else None,
            abstain_below=abstain_below,
            mapping=tuple(text for text in self._values("mapping") if text),
        )

    def _values(self, name: str) -> list[str]:
        return [_decode(bytes(text)) for field_name, text in self.texts if field_name == name]

    def _begin(self) -> None:
        self._header, self._disposition = (b"", b""), b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = (b"", b"")

    def _open(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        name = _decode(parameters.get(b"name", b""))
        is_file = b"filename" in parameters
        if name not in (FILE_FIELDS if is_file else TEXT_FIELDS):
            what = f"file {name!r}: files are" if is_file else f"field {name!r}: fields are"
            raise Refusal(
                400,
                f"There is no {what} {', '.join(FILE_FIELDS if is_file else TEXT_FIELDS)}.",
            )
        if not is_file:
            self.texts.append((name, bytearray()))
            if len(self.texts) > MAX_FIELDS:
                raise Refusal(413, f"More than {MAX_FIELDS} fields.")
            return
        path = self.folder / plain_name(_decode(parameters[b"filename"]))
        (self.mixes if name == "mix" else self.tracks).append(path)
        self.limits.check_files(len(self.mixes) + len(self.tracks))
        try:
            self._file = path.open("xb")
        except FileExistsError:
            raise Refusal(400, f"{path.name} was sent twice: give the files own names.") from None

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        name, text = self.texts[-1]
        text += data[start:end]
        if len(text) > MAX_FIELD_BYTES:
            raise Refusal(413, f"{name} is longer than {MAX_FIELD_BYTES} bytes.")

    def _complete(self) -> None:
        self.is_complete = True


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Refusal(400, f"{text[:40]!r} is not UTF-8, as names and fields must be.") from None
