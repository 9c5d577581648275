"""Every error that Mixing Buddy raises on purpose."""

from __future__ import annotations


class MixingBuddyError(ValueError):
    """Something that the user gave is wrong; the message says what, where and what to do."""


class AudioError(MixingBuddyError):
    """An audio file, or an array of samples, can't be used."""


class SongError(MixingBuddyError):
    """A song folder, or a folder of songs, can't be used."""


class RecipeError(MixingBuddyError):
    """A recipe can't be made, read or rendered."""


class OutputError(MixingBuddyError):
    """The place that results should go to can't be used."""
