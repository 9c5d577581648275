"""Every error that Mixing Buddy raises on purpose."""

from __future__ import annotations


class MixingBuddyError(ValueError):
    """Something that the user gave is wrong; the message says what, where and what to do."""


class AudioError(MixingBuddyError):
    """An audio file, or an array of samples, can't be used."""


class SongError(MixingBuddyError):
    """A song folder, or a folder of songs, can't be used."""


class ProjectError(MixingBuddyError):
    """A workstation's project can't be read, or advice can't be written into it."""


class RecipeError(MixingBuddyError):
    """A recipe can't be made, read or rendered."""


class OutputError(MixingBuddyError):
    """The place that results should go to can't be used."""


class PublishingError(MixingBuddyError):
    """Something may not, or can't, be published on the Hub."""


class JudgingError(MixingBuddyError):
    """Answers can't be given to a judge, or the judge can't be asked."""


class StudyError(MixingBuddyError):
    """A listening study can't be made, run or evaluated."""


class ServiceError(MixingBuddyError):
    """The service can't be started."""
