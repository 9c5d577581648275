"""From what a visitor uploads to a folder of stems or a mix that may be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from settings import (
    AUDIO_SUFFIXES,
    MAX_CHANNELS,
    MAX_DURATION_S,
    MAX_FILE_MB,
    MAX_FILES,
    MAX_SAMPLE_RATE,
    MIN_DURATION_S,
    MIN_SAMPLE_RATE,
)

from mixing_buddy.advising import stem_names
from mixing_buddy.advising.stem_names import MIX, StemGuess
from mixing_buddy.audio import audio_info, read_audio, write_audio
from mixing_buddy.errors import AudioError
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: Stems of one song may differ in length by this much; exporters add a little silence.
_MAX_LENGTH_DIFFERENCE_S = 1.0


def uploaded_file(*arguments, **options) -> gr.File:
    """Make a place for a file that a visitor uploads; takes what `gr.File` takes.

    Where a program sends an address in place of a file, gradio would fetch it: this refuses.
    """
    # No subclass: gradio writes a stub file beside the module of one.
    component = gr.File(*arguments, **options)
    move = component.async_move_resource_to_block_cache

    async def move_no_address(url_or_file_path):
        if is_http_url_like(str(url_or_file_path or "")):
            raise gr.Error(
                "Upload the file itself: addresses are not fetched.", print_exception=False
            )
        return await move(url_or_file_path)

    component.async_move_resource_to_block_cache = move_no_address
    return component


def display_name(path: str | Path) -> str:
    """Return a file's name without what could be markup, cut to a readable length."""
    name = re.sub(r"[^\w .()+-]", "_", Path(path).name)
    return name if len(name) <= 48 else f"{name[:40]}…{name[-7:]}"


def guess_stems(paths: Sequence[str | Path]) -> list[tuple[Path, StemGuess]]:
    """Guess from their names which stem each file belongs to."""
    files = [Path(path) for path in paths]
    return list(zip(files, stem_names.guess_stems([file.stem for file in files]), strict=True))


def group_by_stem(guessed: Sequence[tuple[Path, StemGuess]]) -> dict[str, list[Path]]:
    """Files of each stem that has any; what is a whole mix is left out."""
    grouped: dict[str, list[Path]] = {}
    for path, guess in guessed:
        if guess.stem != MIX:
            grouped.setdefault(guess.stem, []).append(path)
    return grouped


def check_file(path: str | Path) -> Path:
    """Check an uploaded file by its place, size and header.

    Returns:
        Its real path.

    Raises:
        AudioError: it was not uploaded here, or is beyond a limit.
    """
    name = display_name(path)
    real = Path(path).resolve()
    # Gradio checks this too; a mistake there must not open the server's files.
    if not real.is_relative_to(Path(get_upload_folder()).resolve()) or not real.is_file():
        raise AudioError("Only files that were uploaded here can be opened: upload it again.")
    if real.suffix.lower() not in AUDIO_SUFFIXES:
        raise AudioError(f"{name} is no audio file that can be read here: use WAV, FLAC or MP3.")
    if real.stat().st_size > MAX_FILE_MB * 1_000_000:
        raise AudioError(f"{name} is larger than {MAX_FILE_MB} MB: export it as FLAC or shorter.")
    try:
        num_samples, sample_rate = audio_info(real)
    except AudioError as error:
        raise AudioError(f"{name} can't be read as audio: export it again.") from error
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name} has a sample rate of {sample_rate} Hz: use {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz."
        )
    duration_s = num_samples / sample_rate
    if duration_s > MAX_DURATION_S:
        raise AudioError(
            f"{name} is {duration_s:.0f} s long: cut it to {MAX_DURATION_S:.0f} s at the most, one "
            "verse and one chorus for example."
        )
    if duration_s < MIN_DURATION_S:
        raise AudioError(
            f"{name} is {duration_s:.1f} s long: at least {MIN_DURATION_S:.0f} s are needed."
        )
    return real


def read_checked(path: Path) -> tuple[np.ndarray, int]:
    """Read a file that `check_file` let pass.

    Returns:
        float32 of shape `(num_channels, num_samples)`, and the sample rate in Hz.

    Raises:
        AudioError: it has too many channels or can't be decoded.
    """
    import soundfile

    name = display_name(path)
    # Before decoding: many channels of silence compress to nothing.
    num_channels = soundfile.info(path).channels
    if num_channels > MAX_CHANNELS:
        raise AudioError(f"{name} has {num_channels} channels: export it in stereo or mono.")
    try:
        return read_audio(path)
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), name)) from error


def stage_stems(stem_files: Mapping[str, Sequence[str | Path]], folder: Path) -> list[str]:
    """Write uploaded files as a folder of four stems; several files of a stem are summed.

    Args:
        stem_files: files of each stem. A stem without any is taken as silent.
        folder: an empty folder.

    Returns:
        Remarks for the visitor on what was done.

    Raises:
        AudioError: a file is refused, files differ in sample rate or length, or there are too many
            files or too few stems.
    """
    checked = {stem: [check_file(path) for path in paths] for stem, paths in stem_files.items()}
    if sum(map(len, checked.values())) > MAX_FILES:
        raise AudioError(f"At most {MAX_FILES} files: sum some of them to groups first.")
    if len([stem for stem in ADVISED_STEMS if checked.get(stem)]) < 2:
        found = ", ".join(stem for stem in STEMS if checked.get(stem)) or "none"
        raise AudioError(
            f"Two of {', '.join(ADVISED_STEMS)} are needed to judge a balance (found: {found}). "
            "If a file was taken for the wrong stem, put it into that stem's own slot."
        )
    infos = {path: audio_info(path) for paths in checked.values() for path in paths}
    first = next(iter(infos))
    sample_rate = infos[first][1]
    longest = max(num_samples for num_samples, _ in infos.values())
    for path, (_, rate) in infos.items():
        if rate != sample_rate:
            raise AudioError(
                f"{display_name(first)} is {sample_rate} Hz, {display_name(path)} {rate} Hz: "
                "stems of one song must share a sample rate."
            )
    for path, (num_samples, rate) in infos.items():
        if longest - num_samples > _MAX_LENGTH_DIFFERENCE_S * sample_rate:
            raise AudioError(
                f"{display_name(path)} is {(longest - num_samples) / rate:.1f} s shorter than the "
                "longest file: export all stems from the same start to the same end."
            )
    for stem in STEMS:
        total = np.zeros((1, longest), dtype=np.float32)
        for path in checked.get(stem, ()):
            audio, _ = read_checked(path)
            # A mono file stands in the middle of a stereo sum.
            total = np.array(np.broadcast_to(total, (max(len(total), len(audio)), longest)))
            total[:, : audio.shape[1]] += audio
        write_audio(folder / f"{stem}.wav", total, sample_rate)
    silent = [stem for stem in STEMS if not checked.get(stem)]
    return [f"No file for {' and '.join(silent)}: taken as silent."] if silent else []
