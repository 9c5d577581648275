"""XML with the place of every element in the file, so that single attributes can be replaced."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape

from mixing_buddy.errors import ProjectError

_ATTRIBUTE = re.compile(rb"\s+([^\s=<>\"'/]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG_END = re.compile(rb"\s*(/?)>")


class PlacedXml:
    """A parsed file.

    Args:
        data: its bytes.
        name: what messages call it.

    Attributes:
        root: its outermost element.

    Raises:
        ProjectError: it is not well-formed, or it declares a document type (which no project
            needs, and which entities that grow without bound are made of).
    """

    def __init__(self, data: bytes, name: str | Path):
        self.data = data
        self.name = name
        self._starts: dict[ElementTree.Element, int] = {}
        self._ends: dict[ElementTree.Element, int] = {}
        builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()

        def start(tag: str, attributes: dict[str, str]) -> None:
            self._starts[builder.start(tag, attributes)] = parser.CurrentByteIndex

        def end(tag: str) -> None:
            self._ends[builder.end(tag)] = parser.CurrentByteIndex

        def refuse(*_) -> None:
            raise ProjectError(f"{name}: it declares a document type, which is not allowed here.")

        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler = builder.data
        parser.StartDoctypeDeclHandler = refuse
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            if isinstance(error, ProjectError):
                raise
            raise ProjectError(f"{name}: not valid XML ({error}). Save it again.") from error
        self.root = builder.close()

    def attribute_place(self, element: ElementTree.Element, name: str) -> tuple[int, int] | None:
        """First byte of an attribute's value, and the byte after it; None without the attribute.

        Raises:
            ProjectError: the file is not in an encoding that extends ASCII.
        """
        for match in self._attributes(element):
            if match[1] == name.encode():
                return match.start(2) + 1, match.end(2) - 1
        return None

    def append_text_edit(self, element: ElementTree.Element, text: str) -> tuple[int, int, bytes]:
        """What to replace, and by what, to add text at the end of an element.

        Raises:
            ProjectError: the file is not in an encoding that extends ASCII.
        """
        return self._append_edit(element, _to_xml(text))

    def append_child_edit(
        self, element: ElementTree.Element, tag: str, text: str
    ) -> tuple[int, int, bytes]:
        """What to replace, and by what, to add an element at the end of another one.

        Raises:
            ProjectError: the file is not in an encoding that extends ASCII.
        """
        return self._append_edit(
            element, f"<{tag}>".encode() + _to_xml(text) + f"</{tag}>".encode()
        )

    def _append_edit(self, element: ElementTree.Element, inner: bytes) -> tuple[int, int, bytes]:
        attributes = list(self._attributes(element))
        tag_end = _TAG_END.match(self.data, self._after_name(element, attributes))
        if tag_end is None:
            raise self._encoding_error()
        if tag_end[1]:  # <Comment/>
            closing = b">" + inner + b"</" + element.tag.encode() + b">"
            return tag_end.start(1), tag_end.end(), closing
        return self._ends[element], self._ends[element], inner

    def _attributes(self, element: ElementTree.Element):
        place = self._after_name(element, [])
        while match := _ATTRIBUTE.match(self.data, place):
            yield match
            place = match.end()

    def _after_name(self, element: ElementTree.Element, attributes: list[re.Match]) -> int:
        if attributes:
            return attributes[-1].end()
        tag = b"<" + element.tag.encode()
        start = self._starts[element]
        if not self.data.startswith(tag, start):
            raise self._encoding_error()
        return start + len(tag)

    def _encoding_error(self) -> ProjectError:
        return ProjectError(f"{self.name}: it is not UTF-8: save it in that encoding.")


def _to_xml(text: str) -> bytes:
    """Escape text, in ASCII so that it fits any encoding; what XML can't hold is left out."""
    return escape(_NOT_XML.sub("", text)).encode("ascii", "xmlcharrefreplace")
