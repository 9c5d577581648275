"""What stands between a visitor's request and the work: limits, and errors that can be shown."""

from __future__ import annotations

import logging
import re
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from bundled import EXAMPLES
from limits import RateLimiter
from listening import Song
from settings import MAX_FADER_DB, RATE_LIMIT, RATE_WINDOW_S
from uploads import check_file, group_by_stem, guess_stems, read_checked, stage_stems

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.stems import STEMS

_LOGGER = logging.getLogger("mixing_buddy_space")
_LIMITER = RateLimiter(RATE_LIMIT, RATE_WINDOW_S)


def count_request(request: gr.Request | None) -> None:
    """Count a request of a session.

    Raises:
        gr.Error: it made too many.
    """
    session = (request and request.session_hash) or "none"
    if wait_s := _LIMITER.wait_s(session):
        raise gr.Error(
            f"That was {RATE_LIMIT} requests within a minute: wait {wait_s:.0f} s, please.",
            title="Slow down",
            print_exception=False,
        )


@contextmanager
def shown_errors() -> Iterator[None]:
    """Turn errors into messages to a visitor; nothing of theirs reaches the log.

    Raises:
        gr.Error: in place of any error.
    """
    try:
        yield
    except gr.Error:
        raise
    except MixingBuddyError as error:
        # Folders of the server are nobody's business.
        message = re.sub(r"(?:/[^/\s:]+)+/", "", str(error))
        message = re.sub(r"mixing-buddy-\w+", "The song", message)
        raise gr.Error(message, title="This can't be used", print_exception=False) from None
    except Exception as error:
        # Where, not what: messages may quote names of files.
        places = "".join(traceback.format_tb(error.__traceback__))
        _LOGGER.error("%s\n%s", type(error).__name__, places)
        raise gr.Error(
            "Something went wrong on our side, not with your song. Try once more.",
            title="Sorry",
            print_exception=False,
        ) from None


@contextmanager
def open_example(key: str, faders_db: Mapping[str, float]) -> Iterator[tuple[Song, list[str]]]:
    """Open one of the songs that come with the Space."""
    if key not in EXAMPLES:
        raise MixingBuddyError(f"There is no such example: choose one of {', '.join(EXAMPLES)}.")
    yield Song(EXAMPLES[key].folder, clean_faders(faders_db), "example"), []


@contextmanager
def open_stems(
    dropped: Sequence[str] | None,
    slots: Mapping[str, str | None],
    faders_db: Mapping[str, float],
) -> Iterator[tuple[Song, list[str]]]:
    """Open uploaded stems, staged in a folder that is removed afterwards.

    Args:
        dropped: files whose stem is guessed by name.
        slots: file of a stem that was put into its own slot, in place of guessed ones.
        faders_db: where the faders stand, in dB.
    """
    files = group_by_stem(guess_stems(dropped or []))
    files |= {stem: [path] for stem, path in slots.items() if path}
    if not files:
        raise MixingBuddyError("Upload your stems first, or pick the example song.")
    with tempfile.TemporaryDirectory(prefix="mixing-buddy-") as folder:
        remarks = stage_stems(files, Path(folder))
        yield Song(Path(folder), clean_faders(faders_db), "stems"), remarks


@contextmanager
def open_mix(path: str | None) -> Iterator[tuple[Song, list[str]]]:
    """Open an uploaded mix."""
    if not path:
        raise MixingBuddyError("Upload your mix first, or pick the example song.")
    real = check_file(path)
    read_checked(real)
    remark = "Only the mix is known: upload stems to hear the change and see each part's level."
    yield Song(real, {}, "mix"), [remark]


def clean_faders(faders_db: Mapping[str, float | None]) -> dict[str, float]:
    """Check fader positions, and leave out those at 0.

    Raises:
        MixingBuddyError: one is beyond `MAX_FADER_DB`.
    """
    moved = {stem: float(faders_db.get(stem) or 0.0) for stem in STEMS}
    for stem, gain_db in moved.items():
        if not abs(gain_db) <= MAX_FADER_DB:
            raise MixingBuddyError(
                f"The {stem} fader stands at {gain_db:g} dB: choose -{MAX_FADER_DB:g} to "
                f"{MAX_FADER_DB:g}."
            )
    return {stem: gain_db for stem, gain_db in moved.items() if gain_db}
