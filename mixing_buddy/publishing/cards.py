"""Cards: of models and adapters, made of their files and of reports; of Spaces, completed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CardData, ModelCardData

from mixing_buddy import prompts
from mixing_buddy.chunks import CHUNK_S
from mixing_buddy.errors import PublishingError
from mixing_buddy.prompts import SYSTEM_MESSAGE
from mixing_buddy.publishing.checks import read_metadata, read_tensor_shapes
from mixing_buddy.publishing.files import PlannedFile
from mixing_buddy.publishing.naming import METRIC_NAME, WRITTEN_NAMESPACE, dataset_id
from mixing_buddy.publishing.results import MEASURES, Measure, Result, to_model_index
from mixing_buddy.stems import STEMS

#: Heading of the section of a model folder's README that goes into its card as it stands.
TRAINING_HEADING = "## What it was trained on"
#: MERT's weights, and so every checkpoint that holds them, may be used under this licence.
MERT_LICENCE = "cc-by-nc-4.0"

_TAGS = ["audio", "music", "mixing", "gain-advice", "mixing-buddy"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def model_card(
    repo_id: str, folder: Path, files: Sequence[PlannedFile], results: Sequence[Result]
) -> str:
    """Write the card of a whole model, or of an adapter.

    Args:
        repo_id: where it will be published.
        folder: its files; the folder's own README says what it was trained on, and its licence.
        files: those that are published.
        results: what it achieves.

    Raises:
        PublishingError: the folder's README does not say what the model was trained on, or which
            licence it has, or names one that its parts rule out.
    """
    import jinja2

    is_adapter = (folder / "adapter_config.json").is_file()
    own_card = _read(folder / "README.md")
    metadata = read_metadata(own_card)
    config = json.loads(_read(folder / "config.json"))
    bases = _bases(folder, config, is_adapter)
    data = ModelCardData(
        language="en",
        **_licence(folder, metadata, config, is_adapter),
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="audio-text-to-text",
        base_model=bases or None,
        base_model_relation=("adapter" if is_adapter else "finetune") if bases else None,
        datasets=_datasets(repo_id, metadata),
        metrics=["accuracy", "f1"],
        tags=[*_TAGS, *(["lora"] if is_adapter else [])],
        model_name=repo_id.rpartition("/")[2],
        eval_results=to_model_index(results) or None,
    )
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = package_files("mixing_buddy.publishing").joinpath("model_card.md.jinja")
    text = environment.from_string(template.read_text("utf-8")).render(
        repo_id=repo_id,
        is_adapter=is_adapter,
        bases=bases,
        licence=data.license,
        has_mert=_has_mert(config),
        training=_training(folder, own_card),
        results=results,
        rows=_result_rows(results),
        facts=_facts(files, config),
        system_message=SYSTEM_MESSAGE,
        question=prompts.instruction(0, duration_s=CHUNK_S, stems=STEMS, anchor="drums"),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text.strip()}\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PublishingError(f"{path} is missing: publish a folder of a saved model.") from error


def _training(folder: Path, own_card: str) -> str:
    found = re.search(
        rf"^{re.escape(TRAINING_HEADING)}\n(.*?)(?=^## |\Z)", own_card, re.MULTILINE | re.DOTALL
    )
    if found is None or not found.group(1).strip():
        raise PublishingError(
            f"{folder / 'README.md'} does not say what the model was trained on: write it down "
            f"under the heading {TRAINING_HEADING!r}."
        )
    return found.group(1).strip()


def _licence(
    folder: Path, metadata: Mapping[str, Any], config: Mapping[str, Any], is_adapter: bool
) -> dict[str, str]:
    licence = metadata.get("license")
    holds_mert = _has_mert(config) and not is_adapter
    if holds_mert and licence not in (None, MERT_LICENCE):
        raise PublishingError(
            f"{folder / 'README.md'} says {licence}, but the model holds MERT's weights, which are "
            f"{MERT_LICENCE}: so is the model. Publish the adapter, which does not hold them, or "
            "correct the licence."
        )
    if holds_mert:
        return {"license": MERT_LICENCE}
    if not licence:
        raise PublishingError(
            f"{folder / 'README.md'} names no licence: give its metadata `license`, such as "
            "apache-2.0."
        )
    named = {key: metadata[key] for key in ("license_name", "license_link") if key in metadata}
    return {"license": licence, **named}


def _has_mert(config: Mapping[str, Any]) -> bool:
    return "mert" in (config.get("audio_name_or_path") or "").lower()


def _bases(folder: Path, config: Mapping[str, Any], is_adapter: bool) -> list[str]:
    names = [config.get("audio_name_or_path"), config.get("text_name_or_path")]
    if is_adapter:
        adapter = json.loads(_read(folder / "adapter_config.json"))
        # A base that is a whole model stands for its parts.
        if whole := adapter.get("base_model_name_or_path"):
            names = [whole]
        if not any(names):
            raise PublishingError(
                f"{folder}: the adapter names no base, so that nobody could load it. Train it on a "
                "saved model, or on parts from the Hub."
            )
    names = [name for name in names if name]
    for name in names:
        if not _HUB_ID.fullmatch(name):
            raise PublishingError(
                f"{folder}: it was made from {name!r}, a folder of this machine, which nobody else "
                "has. Publish that model first, and build on its Hub id."
            )
    return names


def _datasets(repo_id: str, metadata: Mapping[str, Any]) -> list[str] | None:
    names = metadata.get("datasets") or []
    return [dataset_id(name, repo_id.partition("/")[0]) for name in names] or None


def _facts(files: Sequence[PlannedFile], config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes, from the weights and the configuration."""
    shapes = [
        shape
        for file in files
        if file.suffix == ".safetensors"
        for shape in (read_tensor_shapes(file) or {}).values()
    ]
    audio, text = config.get("audio_config", {}), config.get("text_config", {})
    processor = next((file for file in files if file.path == "processor_config.json"), None)
    settings = json.loads(processor.read_text()) if processor else {}
    rate = settings.get("feature_extractor", {}).get("sampling_rate", 24_000)
    frame_rate = rate / math.prod(audio.get("conv_stride") or [320])
    return {
        "num_parameters": sum(math.prod(shape) for shape in shapes),
        "num_bytes": sum(file.size_bytes for file in files if file.suffix == ".safetensors"),
        "sample_rate": rate,
        "frame_rate": frame_rate,
        "tokens_per_s": frame_rate / config.get("pooling_factor", 10),
        "audio_layers": audio.get("num_hidden_layers"),
        "audio_width": audio.get("hidden_size"),
        "text_layers": text.get("num_hidden_layers"),
        "text_width": text.get("hidden_size"),
        "text_type": text.get("model_type"),
        "num_level_bands": config.get("num_level_bands"),
    }


def _result_rows(results: Sequence[Result]) -> list[list[str]]:
    counts = [f"{each.report['num_rows']}, {each.report['num_songs']}" for each in results]
    rows = [["rows, songs", *counts]]
    for measure in MEASURES:
        cells = [_cell(each, measure) for each in results]
        if set(cells) != {"-"}:
            rows.append([measure.name, *cells])
    return rows + _baseline_rows(results)


def _baseline_rows(results: Sequence[Result]) -> list[list[str]]:
    """Joint accuracy of what the reports set beside the model, but for the oracle's 100 %."""
    known = {
        name: sums["knows"]
        for result in results
        for name, sums in result.report.get("baselines", {}).items()
        if name != "oracle"
    }
    joint = MEASURES[0]
    return [
        [
            f"Joint, {name} ({knows})",
            *(_cell(each.beside(name), joint) if each.beside(name) else "-" for each in results),
        ]
        for name, knows in known.items()
    ]


def _cell(result: Result, measure: Measure) -> str:
    value, interval = result.value(measure), result.interval(measure)
    if value is None:
        return "-"
    ends = f" ({interval[0]} to {interval[1]})" if interval else ""
    return f"{value} {measure.unit}{ends}"


def localised(text: str, repo_id: str) -> str:
    """Put the namespace that is published to in place of the one that our files are written for."""
    namespace = repo_id.partition("/")[0]

    def here(found: re.Match[str]) -> str:
        name = found[1]
        return f"{namespace}/{name}" if name == METRIC_NAME else dataset_id(name, namespace)

    return re.sub(rf"\b{WRITTEN_NAMESPACE}/([\w.-]*\w)", here, text)


def as_space_card(text: str, **defaults: Any) -> str:
    """Add to a card's metadata what a Space needs, where it is not there yet.

    Args:
        text: the card.
        defaults: fields and values.
    """
    metadata = read_metadata(text)
    body = text.split("\n---\n", 1)[1] if metadata else text
    data = CardData(**{**defaults, **metadata})
    return f"---\n{yaml.safe_dump(data.to_dict(), sort_keys=False, allow_unicode=True)}---\n{body}"
