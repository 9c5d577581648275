"""Builds a dataset into a folder that `load_dataset` opens without any code of ours."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixing_buddy.chunks import ChunkScan
from mixing_buddy.consensus.estimate import Consensus
from mixing_buddy.dataset_builder.balances import balances_of
from mixing_buddy.dataset_builder.card import CARD_MARK, write_card
from mixing_buddy.dataset_builder.features import features_of
from mixing_buddy.dataset_builder.mixing_buddy_dataset import MixingBuddyDatasetConfig, scan_song
from mixing_buddy.dataset_builder.report import BuildReport, SongReport, shared_artists
from mixing_buddy.dataset_builder.shards import merge_shards, write_rows
from mixing_buddy.dataset_builder.workspace import Workspace
from mixing_buddy.embedding import AUDIO_COLUMN, AUDIO_GAIN_COLUMN, CLIPS_COLUMN, encode_clips
from mixing_buddy.errors import MixingBuddyError, OutputError, RecipeError, SongError
from mixing_buddy.licences import may_embed
from mixing_buddy.recipes import Balances
from mixing_buddy.rendering import cut_chunk, render
from mixing_buddy.schema import DIFFERENTIAL, MODES, SINGLE_MIX
from mixing_buddy.songs import Song
from mixing_buddy.stem_store import StemStore


@dataclass(frozen=True)
class BuildSettings:
    """What to write, beside what the rows depend on.

    Args:
        modes: which of `MODES`, each a config of the dataset.
        embed_audio: store each row's audio beside its recipe.
        rows_per_shard: see `merge_shards`.
        num_proc: number of processes; the rows don't depend on it.
        overwrite: replace what an earlier build left.
    """

    modes: tuple[str, ...] = (SINGLE_MIX,)
    embed_audio: bool = False
    rows_per_shard: int | None = None
    num_proc: int = 1
    overwrite: bool = False


def build_dataset(
    config: MixingBuddyDatasetConfig,
    out: str | os.PathLike[str],
    settings: BuildSettings = BuildSettings(),
    *,
    on_song: Callable[[int, int], None] = lambda done, total: None,
) -> BuildReport:
    """Build the recipes of folders of songs into `out`, as Parquet with a card.

    The folder appears whole or not at all. A build that was killed goes on from the songs it had
    finished, and gives the same bytes.

    Args:
        config: sources, and all that rows depend on; its own mode does not count.
        out: folder to write; it gets `<mode>/<split>-*.parquet` and `README.md`.
        settings: what to write.
        on_song: called after each song, with the number done and the total.

    Returns:
        Counts of songs, chunks and rows, and what was left out.

    Raises:
        OutputError: `out` holds something already, or another build into it is on.
        SongError: a song can't be used (and `skip_broken` is off), no chunk can, or the audio of
            a song may not be embedded.
        RecipeError: a setting makes no sense.
        ConsensusError: the table of consensus can't be used.
    """
    # A name for the work folder needs a name of its own: not "." or "..".
    out = Path(os.path.abspath(out))
    unknown = [mode for mode in settings.modes if mode not in MODES]
    if unknown or not settings.modes:
        raise RecipeError(
            f"Unknown mode {', '.join(map(repr, unknown))}: choose from {', '.join(MODES)}."
        )
    if config.consensus is not None and DIFFERENTIAL not in settings.modes:
        raise RecipeError(
            f"A consensus is of use to the mode {DIFFERENTIAL} only: build that, or leave it out."
        )
    _check_out(out, settings.overwrite)
    report = BuildReport()
    config.check()
    songs = config.songs(lambda folder, error: report.broken.append((folder, str(error))))
    agreed = config.agreed(songs)
    report.unused_consensus = sorted(set(agreed) - {song.name for song in songs})
    if settings.embed_audio:
        _check_licences(songs)
    workspace = Workspace(out, _fingerprint(config, settings))
    with workspace.opened():
        _check_out(out, settings.overwrite)
        _build_songs(songs, agreed, config, settings, workspace, on_song)
        used = []
        for index, song in enumerate(songs):
            of_song = workspace.report_of(_key(index))
            report.add(song, of_song)
            if of_song.chunks:
                used.append((index, song))
        if not used:
            raise SongError(_why_nothing(report))
        report.shared_artists = shared_artists(song for _, song in used)
        _merge(used, report, settings, workspace)
        workspace.publish()
    return report


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: this is a file; name a new folder.")
    if not any(out.iterdir()):
        return
    card = out / "README.md"
    ours = card.is_file() and CARD_MARK in card.read_text(encoding="utf-8", errors="replace")
    if not ours:
        raise OutputError(f"{out}: the folder holds something that is no dataset; name a new one.")
    if not overwrite:
        raise OutputError(f"{out}: a dataset is there already; --overwrite replaces it.")


def _check_licences(songs: Sequence[Song]) -> None:
    """Raise unless the audio of every song may be stored in a dataset that others get."""
    refused = [song for song in songs if not may_embed(song.licence)]
    if not refused:
        return
    named = [f"{song.name} ({song.licence})" for song in refused[:10]]
    if len(refused) > len(named):
        named.append(f"and {len(refused) - len(named)} more")
    raise SongError(
        f"The audio of {len(refused)} of {len(songs)} songs may not be embedded, since their "
        f"licence does not allow sharing changed copies: {', '.join(named)}. Build without audio "
        "(recipes may be shared whatever the licence of the songs), leave these songs out, or, "
        "if their licence does allow it, say so in source.yaml ('licence:', or 'licences:' by "
        "song)."
    )


def _fingerprint(config: MixingBuddyDatasetConfig, settings: BuildSettings) -> str:
    described = [config.fingerprint(), list(settings.modes), settings.embed_audio]
    return hashlib.blake2b(json.dumps(described).encode(), digest_size=8).hexdigest()


def _key(index: int) -> str:
    return f"{index:06d}"


def _build_songs(
    songs: Sequence[Song],
    agreed: Mapping[str, Mapping[str, Consensus]],
    config: MixingBuddyDatasetConfig,
    settings: BuildSettings,
    workspace: Workspace,
    on_song: Callable[[int, int], None],
) -> None:
    """Build every song that the workspace does not hold yet."""
    missing = [
        (_key(index), song, agreed.get(song.name, {}))
        for index, song in enumerate(songs)
        if workspace.report_of(_key(index)) is None
    ]
    first = len(songs) - len(missing) + 1
    for done, error in enumerate(_finish_all(missing, config, settings, workspace), first):
        if error is not None and not config.skip_broken:
            raise SongError(error)
        on_song(done, len(songs))


def _finish_all(missing, config, settings, workspace) -> Iterator[str | None]:
    """Build songs, yielding what is wrong with each as it is done."""
    if settings.num_proc == 1:
        for job in missing:
            yield _finish_song(*job, config, settings, workspace)
        return
    with ProcessPoolExecutor(
        settings.num_proc, initializer=_end_with_parent, initargs=(os.getpid(),)
    ) as pool:
        futures = [pool.submit(_finish_song, *job, config, settings, workspace) for job in missing]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent(parent: int) -> None:
    """Let a worker end when its parent was killed; it would wait for work for ever.

    Ctrl-C is for the parent: workers finish the songs that they are at, which are kept.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finish_song(
    key: str,
    song: Song,
    agreed: Mapping[str, Consensus],
    config: MixingBuddyDatasetConfig,
    settings: BuildSettings,
    workspace: Workspace,
) -> str | None:
    """Write the rows and the report of one song; return what is wrong with it."""
    store = StemStore(config.stem_cache_dir)
    try:
        scan = scan_song(song, store)
    except MixingBuddyError as error:
        report = SongReport(error=str(error))
        if not config.skip_broken:
            return report.error
        with workspace.finishing(key) as folder:
            _write_report(folder, report)
        return report.error
    stems = store.open(song)
    balances = balances_of(agreed, stems)
    counts: dict[str, Counter[str]] = {mode: Counter() for mode in settings.modes}
    rejected: Counter[str] = Counter()
    num_bytes = {}
    with workspace.finishing(key) as folder:
        for mode in settings.modes:
            num_bytes[mode] = write_rows(
                folder / f"{mode}.parquet",
                _counted(
                    _rows(scan, config, mode, balances, stems if settings.embed_audio else None),
                    counts[mode],
                    rejected,
                ),
                features_of(mode, embed_audio=settings.embed_audio),
                has_audio=settings.embed_audio,
            )
        report = SongReport(
            chunks=len(scan.chunks),
            rows={mode: dict(count) for mode, count in counts.items()},
            num_bytes=num_bytes,
            rejected=dict(rejected),
            has_consensus=bool(balances),
            skipped=dict(scan.skipped),
            notes=list(scan.notes),
        )
        _write_report(folder, report)
    return None


def _write_report(folder: Path, report: SongReport) -> None:
    (folder / "report.json").write_text(json.dumps(report.to_dict()), encoding="utf-8")


def _rows(
    scan: ChunkScan,
    config: MixingBuddyDatasetConfig,
    mode: str,
    balances: Balances,
    stems: np.ndarray | None,
) -> Iterator[dict[str, Any]]:
    """Make the rows of a song, with audio where stems are given."""
    for chunk in scan.chunks:
        part = None if stems is None else cut_chunk(stems, chunk.start_s, chunk.duration_s)
        for recipe in config.recipes(chunk, mode, balances):
            row = recipe.to_row()
            if part is not None:
                clips = [render(part, clip["stem_gains_db"]) for clip in row["audios"]]
                files, row[AUDIO_GAIN_COLUMN] = encode_clips(clips)
                audio = [{"bytes": file, "path": None} for file in files]
                features = features_of(mode, embed_audio=True)
                if AUDIO_COLUMN in features:
                    (row[AUDIO_COLUMN],) = audio
                else:
                    row[CLIPS_COLUMN] = audio
            yield row


def _counted(
    rows: Iterable[dict[str, Any]], categories: Counter[str], rejected: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Hand rows on, counting them by category and by kind of rejected answer."""
    for row in rows:
        categories[row["category"]] += 1
        if "rejected_kind" in row:
            rejected[row["rejected_kind"]] += 1
        yield row


def _merge(
    used: Sequence[tuple[int, Song]],
    report: BuildReport,
    settings: BuildSettings,
    workspace: Workspace,
) -> None:
    """Join the songs' files into the dataset, with its card."""
    new = workspace.fresh()
    for mode in settings.modes:
        (new / mode).mkdir()
        # A split of which gating left nothing can't be opened.
        for split in report.splits:
            files = [
                workspace.song_folder(_key(index)) / f"{mode}.parquet"
                for index, song in used
                if song.split == split
            ]
            merge_shards(
                files,
                new / mode,
                split,
                features_of(mode, embed_audio=settings.embed_audio),
                num_rows=report.num_rows(mode, split),
                has_audio=settings.embed_audio,
                rows_per_shard=settings.rows_per_shard,
            )
    write_card(new, report, settings.modes, embed_audio=settings.embed_audio)


def _why_nothing(report: BuildReport) -> str:
    skipped = ", ".join(f"{count} {reason}" for reason, count in report.skipped.most_common())
    broken = f"{len(report.broken)} songs are broken" if report.broken else ""
    reasons = "; ".join(filter(None, (skipped, broken))) or "no songs"
    return f"No chunk of these songs can be used: {reasons}"
