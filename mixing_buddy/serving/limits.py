"""What a request may hold, and how it is told that it holds too much."""

from __future__ import annotations

from dataclasses import dataclass

from mixing_buddy.advising.inputs import SongFiles
from mixing_buddy.errors import MixingBuddyError

#: Longest time in seconds without a byte of an upload.
IDLE_S = 30.0

#: Text fields of a request, and bytes of each.
MAX_FIELDS, MAX_FIELD_BYTES = 256, 4096


class Refusal(MixingBuddyError):
    """A request that is not answered; the message says why.

    Args:
        status: HTTP status of the reply.
        message: what was wrong and what to do.
        retry_after_s: when to ask again, in seconds; None where that would change nothing.
    """

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None):
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Limits:
    """What the service takes on.

    Args:
        max_bytes: bytes of a request, its files and all else.
        max_files: files of a request.
        max_duration_s: length of a song in seconds.
        max_channels: channels of a file.
        max_requests: requests in work at a time, those that are still uploading among them.
    """

    max_bytes: int = 500_000_000
    max_files: int = 64
    max_duration_s: float = 1800.0
    max_channels: int = 8
    max_requests: int = 6

    def check_bytes(self, num_bytes: int) -> None:
        """Refuse a request that is too large.

        Args:
            num_bytes: what it holds, or says that it holds.

        Raises:
            Refusal: it is too large.
        """
        if num_bytes > self.max_bytes:
            raise Refusal(
                413,
                f"The upload is larger than {self.max_bytes / 1e6:g} MB, the limit here: send "
                "FLAC or MP3, or a part of the song.",
            )

    def check_files(self, num_files: int) -> None:
        """Refuse too many files.

        Raises:
            Refusal: there are too many.
        """
        if num_files > self.max_files:
            raise Refusal(
                413, f"More than {self.max_files} files, the limit here: sum some of the tracks."
            )

    def check_song(self, song: SongFiles) -> None:
        """Refuse a song that is too long or has too many channels, by its headers.

        Raises:
            Refusal: a limit is exceeded.
        """
        for track in song.tracks:
            if track.duration_s > self.max_duration_s:
                raise Refusal(
                    413,
                    f"{track.path.name}: {track.duration_s / 60:.1f} minutes long; the limit here "
                    f"is {self.max_duration_s / 60:g}. Send a part of the song.",
                )
            if track.num_channels > self.max_channels:
                raise Refusal(
                    413,
                    f"{track.path.name}: {track.num_channels} channels; the limit here is "
                    f"{self.max_channels}. Export it in stereo.",
                )
