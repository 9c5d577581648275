"""A look at a dataset: counts, levels and examples to hear, as one HTML page."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset

from mixing_buddy.files import write_whole
from mixing_buddy.labels import decode_labels
from mixing_buddy.loudness import db_to_gain, loudness_lufs, rms_dbfs
from mixing_buddy.plotting import new_figure, to_png
from mixing_buddy.rendering import RenderTransform, parse_sources, render
from mixing_buddy.rows import list_configs, open_splits, spread
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS

#: Columns whose values are counted, where the dataset has them.
COUNTED = ("category", "target", "anchor", "direction", "prompt_category", "rejected_kind")

#: Longest side of a dataset that levels are measured on; more rows change no histogram visibly.
MEASURED_ROWS = 200


@dataclass(frozen=True)
class Example:
    """One row to look at and listen to.

    Args:
        row: the row, without audio.
        picture: PNG of each stem's waveform in the mix, as a data address.
        players: name and MP3, as a data address, of each clip that the model hears.
    """

    row: Mapping[str, Any]
    picture: str
    players: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ModePage:
    """What the page says of one config of the dataset.

    Args:
        name: name of the config.
        splits: for each split its numbers of rows, songs and chunks.
        counts: for each counted column, rows by value and split.
        plots: title and PNG, as a data address.
        examples: rows to look at.
    """

    name: str
    splits: Mapping[str, tuple[int, int, int]]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    plots: Sequence[tuple[str, str]]
    examples: Sequence[Example]


def inspect_dataset(dataset: str, songs: Sequence[str], *, num_examples: int = 3) -> list[ModePage]:
    """Gather what the page shows.

    Args:
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        songs: song folders as ROOT or NAME=ROOT; without any, nothing is rendered.
        num_examples: examples a config.

    Returns:
        One entry for each config of the dataset.

    Raises:
        RecipeError: there is no such dataset, or it is damaged.
    """
    transform = RenderTransform(parse_sources(songs)) if songs else None
    return [
        _inspect_mode(name, open_splits(dataset, name), transform, num_examples)
        for name in list_configs(dataset)
    ]


def write_page(title: str, pages: Sequence[ModePage], out: Path) -> None:
    """Write the page, complete or not at all.

    Args:
        title: heading.
        pages: from `inspect_dataset`.
        out: HTML file; it needs no other.

    Raises:
        OutputError: the file can't be written.
    """
    from jinja2 import Environment

    source = files("mixing_buddy").joinpath("pages", "inspect.html.jinja").read_text("utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )
    write_whole(out, template.render(title=title, pages=pages))


def _inspect_mode(
    name: str, splits: Mapping[str, Dataset], transform: RenderTransform | None, num_examples: int
) -> ModePage:
    sizes, counts = {}, {}
    for split, rows in splits.items():
        table = rows.select_columns(["source", "song", "start_s"]).to_pandas()
        songs = table[["source", "song"]].drop_duplicates()
        sizes[split] = (len(rows), len(songs), len(table.drop_duplicates()))
        for column in COUNTED:
            if column in rows.column_names:
                names = decode_labels({column: list(rows[column])})[column]
                for value, count in sorted(Counter(map(str, names)).items()):
                    counts.setdefault(column, {}).setdefault(value, {})[split] = count
    largest = max(splits.values(), key=len)
    plots = [("Gain on the target", _histogram({"target": largest["gain_db"]}, "gain in dB"))]
    examples = []
    if transform is not None:
        plots += _level_plots(spread(largest, MEASURED_ROWS), transform)
        shown = splits.get("test", largest)
        examples = [_example(decode_labels(row), transform) for row in spread(shown, num_examples)]
    return ModePage(name, sizes, counts, plots, examples)


def _level_plots(rows: Dataset, transform: RenderTransform) -> list[tuple[str, str]]:
    """Measure rendered mixes and their stems."""
    mixes_lufs: list[float] = []
    stems_dbfs: dict[str, list[float]] = {stem: [] for stem in STEMS}
    for row in rows:
        stems = _chunk_stems(row, transform)
        mix = render(stems, row["stem_gains_db"])
        mixes_lufs.append(loudness_lufs(mix[np.newaxis], SAMPLE_RATE))
        for stem, samples in zip(STEMS, stems, strict=True):
            level_dbfs = rms_dbfs(samples) + row["stem_gains_db"][stem]
            if level_dbfs > -80.0:
                stems_dbfs[stem].append(level_dbfs)
    finite = [value for value in mixes_lufs if np.isfinite(value)]
    return [
        ("Loudness of mixes", _histogram({"mix": finite}, "LUFS (BS.1770)")),
        ("Level of stems in the mix", _histogram(stems_dbfs, "dBFS RMS, silence left out")),
    ]


def _chunk_stems(row: Mapping[str, Any], transform: RenderTransform) -> np.ndarray:
    names = ("source", "split", "song", "start_s", "duration_s")
    return transform.chunk_stems(*(row[name] for name in names))


def _example(row: Mapping[str, Any], transform: RenderTransform) -> Example:
    stems = _chunk_stems(row, transform)
    gains_db = row["stem_gains_db"]
    heard = {s: x * db_to_gain(gains_db[s]) for s, x in zip(STEMS, stems, strict=True)}
    batch = transform({name: [value] for name, value in row.items()})
    clips = zip(row["audios"], batch["clips"][0], strict=True)
    players = [(recipe["name"].replace("_", " "), _mp3(clip)) for recipe, clip in clips]
    return Example(row, _waveforms(heard, gains_db), players)


def _histogram(values: Mapping[str, Sequence[float]], label: str) -> str:
    """Draw a histogram for each name, as a data address."""
    figure = new_figure(4.3, 2.5)
    axes = figure.add_subplot()
    everything = np.concatenate([np.asarray(v, dtype=float) for v in values.values()])
    bins = np.histogram_bin_edges(everything, bins=40) if everything.size else 1
    for name, numbers in values.items():
        axes.hist(numbers, bins=bins, histtype="stepfilled", alpha=0.45, label=name)
    axes.set_xlabel(label)
    axes.set_ylabel("rows")
    if len(values) > 1:
        axes.legend(frameon=False, fontsize="small")
    return _picture(figure)


def _waveforms(stems: Mapping[str, np.ndarray], gains_db: Mapping[str, float]) -> str:
    """Draw the stems below one another on one scale, as a data address."""
    figure = new_figure(9.0, 3.6)
    all_axes = figure.subplots(len(stems), sharex=True, sharey=True)
    for axes, (stem, samples) in zip(all_axes, stems.items(), strict=True):
        # Extremes of 20 ms blocks draw the same picture as all samples, a hundred times faster.
        blocks = samples[: len(samples) // 480 * 480].reshape(-1, 480)
        times_s = np.arange(len(blocks)) * 480 / SAMPLE_RATE
        axes.fill_between(times_s, blocks.min(1), blocks.max(1), linewidth=0)
        moved = f"{gains_db[stem]:+.1f} dB" if gains_db[stem] else ""
        axes.set_ylabel(f"{stem}\n{moved}", rotation=0, ha="right", va="center")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    all_axes[-1].set_xlabel("seconds")
    return _picture(figure)


def _picture(figure) -> str:
    """Render a figure as a data address."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure, dpi=110)).decode()


def _mp3(clip: np.ndarray) -> str:
    """Encode a clip for a browser, turned down as a whole where it would clip."""
    buffer = io.BytesIO()
    peak = max(1.0, float(np.abs(clip).max(initial=0.0)) / 0.98)
    soundfile.write(buffer, clip / peak, SAMPLE_RATE, format="MP3")
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
