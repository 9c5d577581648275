"""Figures for a model's card, read from the reports that ``mixing-buddy evaluate`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult

from mixing_buddy.errors import PublishingError
from mixing_buddy.publishing.naming import dataset_id


@dataclass(frozen=True)
class Measure:
    """One of a report's measures.

    Args:
        path: where it stands in the report.
        name: what people call it.
        kind: the Hub's word for it.
        scale: what the report's number is multiplied by.
        unit: unit of the product.
    """

    path: tuple[str, ...]
    name: str
    kind: str = "accuracy"
    scale: float = 100.0
    unit: str = "%"

    def rounded(self, value: float) -> float:
        """Return a report's number in the measure's unit."""
        return round(self.scale * value, 2 if self.unit == "dB" else 1)


#: What goes into a card, where a report has it: reports differ with the dataset's config.
MEASURES = (
    Measure(("joint",), "Joint accuracy (stem and direction)"),
    Measure(("stem",), "Stem accuracy"),
    Measure(("direction",), "Direction accuracy"),
    Measure(("magnitude",), "Magnitude accuracy (flawed mixes)"),
    Measure(("error_detection", "f1"), "Error detection, F1", "f1"),
    Measure(("error_db",), "Mean absolute error of changes", "mae", 1.0, "dB"),
    # What METEOR and the measures by models give depends on what a machine has: no card.
    Measure(("text", "bleu", "best_of"), "BLEU, nearest reference", "bleu", 1.0, "of 100"),
    Measure(("text", "rouge_l", "best_of"), "ROUGE-L, nearest reference", "rouge", 100.0, "of 100"),
)
_RUN_FIELDS = ("weights", "dataset", "config", "split", "prompt_category")


@dataclass(frozen=True)
class Result:
    """One report, and what it is about.

    Args:
        dataset_id: Hub id of the dataset.
        report: the report, which says the rest.
    """

    dataset_id: str
    report: Mapping[str, Any]

    @property
    def run(self) -> Mapping[str, Any]:
        """What was run: config, split and so on."""
        return self.report["run"]

    @property
    def title(self) -> str:
        """What the figures are about, for the head of a column."""
        kind = self.run["prompt_category"]
        prompts = f", {kind} prompts" if kind else ""
        name = self.dataset_id.rpartition("/")[2]
        return f"{name}, {self.run['config']}, {self.run['split']}{prompts}"

    def value(self, measure: Measure) -> float | None:
        """Return a measure, rounded and in its unit; None where the report lacks it."""
        value = _at(self.report, measure.path)
        return None if value is None else measure.rounded(value)

    def beside(self, name: str) -> Result | None:
        """Return what a baseline achieved on the same rows; None where it was not asked."""
        sums = self.report.get("baselines", {}).get(name)
        return sums and Result(self.dataset_id, sums)

    def interval(self, measure: Measure) -> tuple[float, float] | None:
        """Return a measure's 95 % interval, likewise."""
        ends = _at(self.report.get("intervals"), measure.path)
        return ends and (measure.rounded(ends[0]), measure.rounded(ends[1]))


def read_result(path: Path, namespace: str, weights: str) -> Result:
    """Read a report.

    Args:
        path: ``report.json``, or the folder that holds it.
        namespace: where the dataset is published, if the report names a folder.
        weights: state of the weights that the card is about; see ``resolve_revision``.

    Raises:
        PublishingError: it is no report, does not say what it is about, or is about other weights.
    """
    if path.is_dir():
        path = path / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        run = report["run"]
        missing = [field for field in _RUN_FIELDS if field not in run]
    except (OSError, ValueError, KeyError, TypeError) as error:
        missing, report, run = [repr(error)], {}, {}
    if missing:
        raise PublishingError(
            f"{path}: no report of `mixing-buddy evaluate --out` that says what it is about "
            f"({', '.join(missing)}). Make it anew."
        )
    if run["weights"] != weights:
        raise PublishingError(
            f"{path}: its figures are those of other weights ({run['weights']}) than the ones to "
            f"be published ({weights}). Evaluate the model that you publish."
        )
    return Result(dataset_id(run["dataset"], namespace), report)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def to_model_index(results: Sequence[Result]) -> list[EvalResult]:
    """Return results in the form of a card's `model-index`."""
    return [
        EvalResult(
            task_type="audio-text-to-text",
            task_name="Gain-balance advice",
            dataset_type=result.dataset_id,
            dataset_name=result.title,
            dataset_config=result.run["config"],
            dataset_split=result.run["split"],
            metric_type=measure.kind,
            metric_name=f"{measure.name} ({measure.unit})",
            metric_value=value,
        )
        for result in results
        for measure in MEASURES
        if (value := result.value(measure)) is not None
    ]


def to_eval_results(results: Sequence[Result]) -> str:
    """Return results in the form of a file in ``.eval_results``."""
    from mixing_buddy.evaluation.reports import results_blocks

    blocks = [
        block for result in results for block in results_blocks(result.report, result.dataset_id)
    ]
    return yaml.safe_dump(blocks, sort_keys=False)
