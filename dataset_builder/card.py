"""The dataset's card: metadata that the Hub and `load_dataset` read, and text for people."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path

import datasets
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from mixing_buddy.dataset_builder.features import features_of
from mixing_buddy.dataset_builder.report import BuildReport
from mixing_buddy.embedding import AUDIO_COLUMN, AUDIO_GAIN_COLUMN, CLIPS_COLUMN
from mixing_buddy.labels import LABELS
from mixing_buddy.licences import hub_licence
from mixing_buddy.schema import DIFFERENTIAL, GENERATOR_VERSION, MODES, Recipe
from mixing_buddy.version import __version__

#: What tells a card of ours from another.
CARD_MARK = "Made by `mixing-buddy build`"

_SIZES = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6))
_AUDIO_MEANINGS = {
    AUDIO_COLUMN: "the clip that the model hears, FLAC, 24 kHz mono.",
    CLIPS_COLUMN: "the clips that the model hears, in the order of `audios`, FLAC, 24 kHz mono.",
    AUDIO_GAIN_COLUMN: "what all clips of the row were turned down by, in dB, where they would "
    "have exceeded full scale; 0 elsewhere.",
    "messages": "the chat: system message, the user's turn with a place for each clip, the answer.",
}


def write_card(
    folder: Path, report: BuildReport, modes: Sequence[str], *, embed_audio: bool
) -> None:
    """Write `README.md` of a dataset.

    Args:
        folder: the dataset, its Parquet files already there.
        report: what went in.
        modes: its configs.
        embed_audio: whether it holds audio.
    """
    data = DatasetCardData(**_metadata(report, modes, embed_audio))
    MetadataConfigs(
        {
            mode: {
                "data_files": [
                    {"split": split, "path": f"{mode}/{split}-*.parquet"} for split in report.splits
                ],
                **({"default": True} if mode == modes[0] else {}),
            }
            for mode in modes
        }
    ).to_dataset_card_data(data)
    infos = {mode: _info(folder, report, mode, embed_audio) for mode in modes}
    DatasetInfosDict(infos).to_dataset_card_data(data)
    text = f"---\n{data.to_yaml(line_break=chr(10))}\n---\n\n{_text(report, modes, embed_audio)}"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _metadata(report: BuildReport, modes: Sequence[str], embed_audio: bool) -> dict:
    largest = max(
        sum(count for (of, _, _), count in report.rows.items() if of == mode) for mode in modes
    )
    size = next((name for name, limit in _SIZES if largest < limit), "1M<n<10M")
    # Recipes are filled from templates under the package's own licence.
    licence = {"license": "apache-2.0"}
    if embed_audio:
        names = {hub_licence(of_song) for _, of_song in report.licences}
        licence = {"license": names.pop() if len(names) == 1 else "other"}
        if licence["license"] == "other":
            licence["license_name"] = "by-song-see-column-licence"
    return {
        "pretty_name": "Mixing Buddy: gain-balance advice on music mixes",
        "language": ["en"],
        **licence,
        "task_categories": ["audio-text-to-text", "audio-classification"],
        "size_categories": [size],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "tags": ["audio", "music", "mixing", "gain-balance", "multitrack", "instruction-tuning"],
    }


def _info(folder: Path, report: BuildReport, mode: str, embed_audio: bool) -> datasets.DatasetInfo:
    splits = SplitDict()
    for split in report.splits:
        splits.add(SplitInfo(split, report.num_bytes[mode, split], report.num_rows(mode, split)))
    return datasets.DatasetInfo(
        features=features_of(mode, embed_audio=embed_audio),
        splits=splits,
        download_size=sum(path.stat().st_size for path in (folder / mode).glob("*.parquet")),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )


def _text(report: BuildReport, modes: Sequence[str], embed_audio: bool) -> str:
    sections = [
        _opening(modes, embed_audio),
        "## Configs\n\n" + "\n".join(f"- `{mode}`: {MODES[mode]}" for mode in modes),
        _sizes(report, modes),
        _columns(modes, embed_audio),
        _making(report, modes),
        _licences(report, embed_audio),
        _limits(report),
    ]
    return "\n\n".join(sections) + "\n"


def _opening(modes: Sequence[str], embed_audio: bool) -> str:
    if embed_audio:
        audio = """\
The audio of each row is stored beside its recipe. `datasets` decodes it with torchcodec, which
needs ffmpeg; `mixing_buddy.embedding.open_embedded(rows)` decodes it with soundfile, without."""
    else:
        audio = """\
There is no audio in here. Whoever has the songs renders it, bit for bit, as rows are read:

```python
from mixing_buddy.rendering import RenderTransform

rows = rows.with_transform(RenderTransform({"SOURCE": "FOLDER"}))  # adds "clips"
```

or as files to listen to: `mixing-buddy render DATASET --songs SOURCE=FOLDER --out mixes`."""
    return f"""# Gain-balance advice on music mixes

{CARD_MARK} (version {__version__}, recipes of version {GENERATOR_VERSION}).

Each row is a recipe: which ten seconds of which song to take, at what gain each stem goes into
the clips that a model hears, and the question and answer that belong to them.

```python
from datasets import load_dataset

rows = load_dataset("DATASET", "{modes[0]}", split="train")
rows.features["category"].int2str(rows[0]["category"])
```

{audio}

It streams, too (`streaming=True`). Rows lie in the order of their songs, so shuffle with a buffer
that spans several songs, `rows.shuffle(buffer_size=10_000)`, before anything is rendered or
decoded. Over several machines `datasets.distributed.split_dataset_by_node` shares out whole shards
where their number is a multiple of the number of machines; a split with eight shards or more has a
multiple of eight. `mixing_buddy.rows.stream_rows` does all of it."""


def _sizes(report: BuildReport, modes: Sequence[str]) -> str:
    lines = ["## Size", "", f"| split | songs | chunks | {' | '.join(modes)} |"]
    lines.append("| --- | " + "--- | " * (len(modes) + 2))
    for split in report.splits:
        rows = [str(report.num_rows(mode, split)) for mode in modes]
        cells = [split, str(report.songs[split]), str(report.chunks[split]), *rows]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(line.rstrip() for line in lines)


def _columns(modes: Sequence[str], embed_audio: bool) -> str:
    meanings = _documented(Recipe) | _AUDIO_MEANINGS
    lines = ["## Columns", "", "| column | type | meaning |", "| --- | --- | --- |"]
    described = {}
    for mode in modes:
        described |= features_of(mode, embed_audio=embed_audio)
    lines += [
        f"| `{name}` | {_type_name(feature)} | {meanings[name]} |"
        for name, feature in described.items()
    ]
    return "\n".join(lines)


def _type_name(feature: object) -> str:
    if isinstance(feature, datasets.ClassLabel):
        return "label: " + ", ".join(feature.names)
    if isinstance(feature, datasets.Value):
        return feature.dtype
    if isinstance(feature, datasets.Audio):
        return "audio"
    return "list" if isinstance(feature, datasets.List) else "struct"


def _documented(documented: type) -> dict[str, str]:
    """Meaning of each argument, from where it is documented: a class's docstring."""
    text = inspect.cleandoc(documented.__doc__ or "").partition("Args:\n")[2]
    items = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning).replace("|", "\\|") for name, meaning in items}


def _making(report: BuildReport, modes: Sequence[str]) -> str:
    sections = [_recipe_making(), _text_making()]
    if DIFFERENTIAL in modes:
        sections.append(_differential_making(report))
    if report.rejected:
        sections.append(_preference_making(report))
    return "\n\n".join(sections)


def _recipe_making() -> str:
    return """\
## How it was made

Songs are cut into chunks of 10 s that don't overlap. A chunk is left out where its mixture lies
below -35 dBFS RMS or fewer than 20 % of its 50 ms frames are active; a stem may be target or anchor
where it lies above -45 dBFS RMS. Stems are mixed to mono and resampled to 24 kHz; a clip is the
plain sum of stems times gains, without normalisation. The target's gain is uniform in the range of
its category: -12 to -6 dB (very_quiet), -6 to -3 (quiet), 0 (no_error, unless the build asked for
a tolerance), 3 to 6 (loud), 6 to 12 (very_loud). The balance of the stems as they lie counts as
right."""


def _text_making() -> str:
    return """\
Instructions and answers are filled from templates. Prompts seek advice (40 %), say nothing but
what there is to hear (20 %), describe the flaw correctly (20 %), or describe one that is not there
(20 %: on flawed mixes half the wrong stem, where a third one can be heard, half the wrong
direction; on balanced mixes any). Preference pairs and `differential` seek advice only. Everything
is drawn from `seed`, which derives from the row's place and the build's base seed; `single_mix`,
`stems` and `preference` rows of the same chunk, target, anchor and category share it, and the
gains."""


def _differential_making(report: BuildReport) -> str:
    text = """\
In `differential`, one to three of bass, drums and vocals are changed, each by a gain of one of the
four flawed categories; `target` is the one that is heard alone. Adding `needed_change_db` to the
faders of mix A gives mix B; the response says the same in steps of 0.5 dB."""
    if not report.with_consensus:
        return text
    count = len(report.with_consensus)
    return f"""{text} For {count} of {count + len(report.without_consensus)} songs mix B is what
several engineers agree on (the median of their gains or levels, as gains on the stems), and
`tolerance_low_db` and `tolerance_high_db` are the quartiles, as changes to mix A. A flaw that this
range allows is no flaw: such combinations are left out. For the other songs B is the balance of the
stems as they lie, and the tolerance is null."""


def _preference_making(report: BuildReport) -> str:
    total = report.rejected.total()
    shares = ", ".join(
        f"{kind} {100 * report.rejected[kind] / total:.1f} %"
        for kind in LABELS["rejected_kind"]
        if report.rejected[kind]
    )
    return f"""\
Rejected answers of `preference` come from the same template as the chosen ones and are wrong in one
way:
{shares}.
Where only two of bass, drums and vocals can be heard there is no wrong stem to name,
and wrong direction and wrong size take its share. Either way each answer is rejected as often as it
is chosen, so that the text alone tells nothing."""


def _licences(report: BuildReport, embed_audio: bool) -> str:
    songs = (
        "The audio keeps the licence of its song, which the column `licence` repeats:"
        if embed_audio
        else "The songs themselves, which are not in here, keep theirs:"
    )
    lines = [
        "## Licences",
        "",
        f"The recipes and their texts: Apache-2.0. {songs}",
        "",
        "| source | licence of its audio | songs |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {source} | {licence} | {count} |"
        for (source, licence), count in sorted(report.licences.items())
    ]
    return "\n".join(lines)


def _limits(report: BuildReport) -> str:
    lines = [
        "## Known limits",
        "",
        "- The balance of a song as it lies is one opinion. Engineers differ by about 2.5 dB a "
        "stem on the same song, so small flaws may be taste.",
        "- One stem is off by a stated gain; real mixes are off in many ways at once. Gain only: "
        "no EQ, compression or space.",
        "- `other` (keys, guitars, everything else) sounds in the mix and is never changed.",
        "- Texts are filled from templates: their variety is that of the templates. A description "
        "narrows down what the answer can be, so compare models by `prompt_category`.",
    ]
    if report.shared_artists:
        names = ", ".join(
            f"{artist} ({' and '.join(splits)})" for artist, splits in report.shared_artists.items()
        )
        lines.append(f"- Artists with songs in more than one split: {names}.")
    if report.broken:
        lines.append(f"- {len(report.broken)} songs could not be read and were left out.")
    return "\n".join(lines)
