"""Many generated songs, written in MUSDB18-HQ's folder layout."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import soundfile
import yaml
from tqdm import tqdm

from mixing_buddy.audio import refusing_sound
from mixing_buddy.files import write_whole
from mixing_buddy.generated_songs.balance import DEFAULT_SPREAD_DB
from mixing_buddy.generated_songs.song import (
    DEFAULT_SAMPLE_RATE,
    GENERATOR_VERSION,
    GenerationError,
    check_settings,
    generate_song,
)
from mixing_buddy.generated_songs.soundfonts import check_soundfonts, file_sha256
from mixing_buddy.stems import STEMS

METADATA_NAME = "song.json"


def generate_songs(
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    split: str = "train",
    duration_s: float = 40.0,
    spread_db: float = DEFAULT_SPREAD_DB,
    soundfonts: Sequence[str | Path] = (),
    num_proc: int = 1,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
) -> list[Path]:
    """Generate ``count`` songs as ``<out>/<split>/<song>/{bass,drums,other,vocals}.flac``.

    Files are mono 16-bit FLAC; ``song.json`` beside them holds every choice. The same settings give
    the same bytes, whatever ``num_proc`` is. Songs that are there already are kept, so an
    interrupted run can be repeated, and a larger ``count`` adds songs.

    Args:
        out: Folder to write to; made if it is missing.
        count: Number of songs, 1 or more.
        seed: Seed of the corpus, 0 or more.
        split: Name of the folder below ``out``, "train" or "test" in MUSDB18-HQ.
        duration_s: Length of each song in seconds.
        spread_db: Standard deviation in dB of each stem's level around the convention.
        soundfonts: Paths of SoundFonts to draw instruments from. Empty: all that are installed.
        num_proc: Number of processes.
        sample_rate: In Hz.

    Returns:
        The song folders, in order of their number.

    Raises:
        GenerationError: If a setting makes no song, or a song made with other settings is in the
            way.
        SynthesiserError: If synthesiser or SoundFonts are missing.
    """
    if count < 1 or seed < 0 or num_proc < 1:
        raise GenerationError(
            f"count is {count}, seed {seed}, num_proc {num_proc}: "
            "count and num_proc must be 1 or more, seed 0 or more"
        )
    if not split or Path(split).name != split:
        raise GenerationError(f"split is {split!r}: use a plain folder name such as train or test")
    check_settings(duration_s, spread_db, sample_rate)
    fonts = check_soundfonts(soundfonts)
    common = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "split": split,
        "duration_s": float(duration_s),
        "spread_db": float(spread_db),
        "sample_rate": sample_rate,
        "soundfonts": [{"name": path.name, "sha256": file_sha256(path)} for path in fonts],
    }
    root = Path(out) / split
    root.mkdir(parents=True, exist_ok=True)
    _describe_source(Path(out))
    folders = [root / f"song-{index:05d}" for index in range(count)]
    jobs = [
        (folder, {**common, "index": index}, fonts)
        for index, folder in enumerate(folders)
        if not _is_finished(folder, {**common, "index": index})
    ]
    with tqdm(total=count, initial=count - len(jobs), desc="songs", unit="song") as progress:
        if num_proc == 1 or len(jobs) < 2:
            for job in jobs:
                _write_song(*job)
                progress.update()
            return folders
        # Not fork: a process that has used threads (torch, OpenMP) may hang when forked.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(num_proc, len(jobs)), mp_context=context) as pool:
            with _interrupts_ignored():
                futures = [pool.submit(_write_song, *job) for job in jobs]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return folders


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let the processes that start meanwhile ignore Ctrl-C, which reaches all of them at once.

    They inherit it, and end when this process has cancelled what they have not begun.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may do this
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _describe_source(out: Path) -> None:
    """Write what recipes take from a folder of songs, unless somebody wrote it already.

    The folder gives the source its name, so that songs of several folders can be learnt from.
    """
    description = out / "source.yaml"
    if not description.exists():
        name = out.resolve().name.replace("=", "-") or "generated"
        facts = {"name": name, "licence": "CC0-1.0"}
        write_whole(description, yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))


def _is_finished(folder: Path, settings: dict[str, object]) -> bool:
    """Whether ``folder`` holds the song of ``settings``; another song there is an error."""
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / METADATA_NAME).read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise GenerationError(
            f"{folder} is in the way and holds no generated song: remove it or choose another OUT"
        ) from None
    changed = [name for name in settings if found.get(name) != settings[name]]
    if changed:
        name = changed[0]
        raise GenerationError(
            f"{folder} was generated with other settings ({name} is {found.get(name)!r}, now "
            f"{settings[name]!r}): choose another OUT, or remove the songs in {folder.parent}"
        )
    return True


def _write_song(folder: Path, settings: dict, fonts: Sequence[Path]) -> None:
    stems, choices = generate_song(
        settings["seed"],
        settings["index"],
        settings["split"],
        duration_s=settings["duration_s"],
        spread_db=settings["spread_db"],
        soundfonts=fonts,
        sample_rate=settings["sample_rate"],
    )
    # Written aside and renamed: a song folder is complete or it is not there.
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    text = json.dumps({"settings": settings, **choices}, indent=1)
    try:
        with refusing_sound(folder):
            unfinished.mkdir()
            for stem in STEMS:
                path = unfinished / f"{stem}.flac"
                soundfile.write(path, stems[stem], settings["sample_rate"], subtype="PCM_16")
            (unfinished / METADATA_NAME).write_text(text + "\n", encoding="utf-8")
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
