"""What experiments need beside training and asking: new models, and rows with other texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixing_buddy.errors import MixingBuddyError

#: Questions that name no anchor, and what names it besides.
QUESTIONS = (
    "Listen to this mix: which stem is too loud or too quiet, and by how many dB?",
    "Here is a rough mix. Does a fader need to move, and how far?",
    "Check the balance of this mix and tell me what to change at the fader.",
    "Is anything buried or poking out in this mix?",
    "Which part of this mix is out, which way, and by what range?",
)
ANCHOR_SENTENCE = "The {anchor} {verb} at the right level."

#: Parts that no start of another shape takes over.
LEARNT_ANEW = ("multi_modal_projector.level_encoder.", "multi_modal_projector.layers.")

#: How answers open where no anchor may be named.
OPENING = "In this mix, the"


def read_fields(words: Sequence[str]) -> dict[str, Any]:
    """Read fields of a configuration, such as `audio_config.conv_stride=[80, 4]`.

    Raises:
        MixingBuddyError: one is not NAME=JSON.
    """
    fields: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        part, _, inner = name.partition(".")
        try:
            read = json.loads(value)
        except json.JSONDecodeError as error:
            raise MixingBuddyError(f"--fields {word}: write NAME=JSON ({error}).") from error
        if inner:
            fields.setdefault(part, {})[inner] = read
        else:
            fields[part] = read
    return fields


def make_start(out: Path, fields: Mapping[str, Any], seed: int, speaker: str) -> None:
    """Save a model of another shape that speaks as another does, and has to learn to hear anew.

    Args:
        out: folder to save it to.
        fields: of `MixingBuddyConfig`, set beside the speaker's own.
        seed: of the weights that are not the speaker's: level encoder and projector, and what has
            another shape.
        speaker: model whose other weights it has.
    """
    from transformers import set_seed

    from mixing_buddy import MixingBuddy
    from mixing_buddy.assembly import build_processor
    from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyForConditionalGeneration

    buddy = MixingBuddy.from_pretrained(speaker, device="cpu")
    other = buddy.model
    settings = other.config.to_dict()
    for name, value in fields.items():
        settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
    config = MixingBuddyConfig.from_dict(settings)
    set_seed(seed)
    model = MixingBuddyForConditionalGeneration(config)
    model.generation_config = other.generation_config
    own = model.state_dict()
    kept = {
        name: weight
        for name, weight in other.state_dict().items()
        if not any(part in name for part in LEARNT_ANEW)
        and name in own
        and own[name].shape == weight.shape
    }
    model.load_state_dict(kept, strict=False)
    model.save_pretrained(out)
    build_processor(config, buddy.processor.tokenizer).save_pretrained(out)


def make_anchors(dataset: str, out: Path, *, named: bool, seed: int) -> None:
    """Write the advice-seeking single mixes of a dataset, asked with or without an anchor.

    Args:
        dataset: folder that `mixing-buddy build` wrote, or a Hub id.
        out: folder to write to, in the form of such a dataset.
        named: whether the question says which stem is the anchor.
        seed: what the wording is drawn from; equal ones give equal wordings in both cases.

    Raises:
        MixingBuddyError: an answer opens in no way that is known.
    """
    import datasets
    import yaml

    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rows import open_rows

    splits = datasets.get_dataset_split_names(dataset, "single_mix")
    openings = _openings()
    for split in splits:
        table = open_rows(dataset, "single_mix", split)
        kinds = decode_labels({"prompt_category": table["prompt_category"][:]})["prompt_category"]
        table = table.select([p for p, kind in enumerate(kinds) if kind == "advice_seeking"])
        table = table.map(
            lambda row: _reword(decode_labels(row), openings, named=named, seed=seed),
            load_from_cache_file=False,
            desc=f"Rewording {split}",
        )
        folder = out / "single_mix"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    files = [{"split": each, "path": f"single_mix/{each}-*.parquet"} for each in splits]
    card = {"configs": [{"config_name": "single_mix", "data_files": files, "default": True}]}
    (out / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n", encoding="utf-8")


def _openings() -> dict[str, list[str]]:
    """How answers to single mixes open, by the anchor that they name."""
    from mixing_buddy.stems import ADVISED_STEMS
    from mixing_buddy.template_pools import fill, load, stem_words

    return {
        anchor: [
            fill(template["opening"], stem_words("anchor", anchor), "templates/responses.yaml")
            for template in load("responses")
        ]
        for anchor in ADVISED_STEMS
    }


def _reword(
    row: Mapping[str, Any], openings: Mapping[str, Sequence[str]], *, named: bool, seed: int
) -> dict[str, Any]:
    from mixing_buddy.conversations import to_template
    from mixing_buddy.recipes import derive_seed

    anchor, response = row["anchor"], row["response"]
    opening = next((each for each in openings[anchor] if response.startswith(each)), None)
    if opening is None:
        raise MixingBuddyError(
            f"{row['uid']}: the answer opens in no way of templates/responses.yaml: {response!r}. "
            "Build the dataset with this version."
        )
    question = QUESTIONS[derive_seed(seed, row["uid"], "question") % len(QUESTIONS)]
    if named:
        verb = "are" if anchor.endswith("s") and anchor != "bass" else "is"
        question = f"{question} {ANCHOR_SENTENCE.format(anchor=anchor, verb=verb)}"
    response = OPENING + response[len(opening) :]
    return {
        "instruction": question,
        "response": response,
        "references": [response],
        "messages": to_template(1, question, response),
        # Baselines read it here.
        "anchor": row["anchor"] if named else None,
    }
