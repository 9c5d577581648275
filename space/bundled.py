"""The songs that come with the Space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Example:
    """A song as four stems.

    Args:
        key: name of its folder, and in the API.
        title: what visitors read.
        credit: who made it, and its licence.
        remark: what to expect of nano on it.
    """

    key: str
    title: str
    credit: str
    remark: str

    @property
    def folder(self) -> Path:
        """Folder with its stems."""
        return Path(__file__).resolve().parent / "examples" / self.key


EXAMPLES: dict[str, Example] = {
    example.key: example
    for example in (
        Example(
            "generated",
            "Generated rock",
            "Made by Mixing Buddy's song generator, with instruments nano never heard. CC0 1.0.",
            "Music like that from which nano learnt.",
        ),
        Example(
            "rubidium",
            "Rubidium",
            "By Software-Entwicklungskit, from <i>Everything is Free</i>. CC0 1.0.",
            "Real electronic music, unlike nano's training: expect it to be wrong here.",
        ),
    )
}

#: Faders that plant a flaw, by what a visitor reads.
PRESETS: dict[str, dict[str, float]] = {
    "Buried vocals": {"vocals": -9.0},
    "Booming bass": {"bass": 8.0},
    "Weak drums": {"drums": -9.0},
    "Untouched": {},
}
