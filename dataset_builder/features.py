"""The columns of each mode as `datasets` types; what they mean stands in `schema.Recipe`."""

from __future__ import annotations

import datasets
from datasets import Audio, ClassLabel, List, Value

from mixing_buddy.embedding import AUDIO_COLUMN, AUDIO_GAIN_COLUMN, CLIPS_COLUMN
from mixing_buddy.labels import LABELS
from mixing_buddy.schema import DIFFERENTIAL, DIFFERENTIAL_COLUMNS, PREFERENCE, STEMS_MODE
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS


def features_of(mode: str, *, embed_audio: bool = False) -> datasets.Features:
    """Columns of a mode, in order: those of `Recipe.to_row`.

    Args:
        mode: one of `MODES`.
        embed_audio: whether the audio of each row is stored beside its recipe.
    """
    gains = {stem: Value("float64") for stem in STEMS}
    text = {"type": Value("string"), "text": Value("string")}
    preference = {
        "chosen": Value("string"),
        "rejected": Value("string"),
        "rejected_kind": _label("rejected_kind"),
        "rejected_stem": Value("string"),
        "rejected_direction": Value("string"),
    }
    columns = {
        "uid": Value("string"),
        "generator_version": Value("string"),
        "mode": Value("string"),
        "source": Value("string"),
        "song": Value("string"),
        "artist": Value("string"),
        "split": Value("string"),
        "start_s": Value("float64"),
        "duration_s": Value("float64"),
        "sample_rate": Value("int32"),
        "target": _label("target"),
        "anchor": _label("anchor"),
        "category": _label("category"),
        "gain_db": Value("float64"),
        "stem_gains_db": gains,
        "needed_change_db": gains,
        **(dict.fromkeys(DIFFERENTIAL_COLUMNS, gains) if mode == DIFFERENTIAL else {}),
        "num_changed_stems": Value("int32"),
        "direction": _label("direction"),
        "min_db": Value("float64"),
        "max_db": Value("float64"),
        "prompt_category": _label("prompt_category"),
        "claim_stem": Value("string"),
        "claim_direction": Value("string"),
        "claim_fault": Value("string"),
        "instruction": Value("string"),
        "response": Value("string"),
        **(preference if mode == PREFERENCE else {}),
        "references": List(Value("string")),
        "messages": List({"role": Value("string"), "content": List(text)}),
        "audios": List({"name": Value("string"), "stem_gains_db": gains}),
        "seed": Value("int64"),
        "licence": Value("string"),
    }
    if embed_audio:
        audio = Audio(sampling_rate=SAMPLE_RATE)
        if mode in (STEMS_MODE, DIFFERENTIAL):
            columns[CLIPS_COLUMN] = List(audio)
        else:
            columns[AUDIO_COLUMN] = audio
        columns[AUDIO_GAIN_COLUMN] = Value("float64")
    return datasets.Features(columns)


def _label(column: str) -> ClassLabel:
    return ClassLabel(names=list(LABELS[column]))
