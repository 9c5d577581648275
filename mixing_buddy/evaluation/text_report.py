"""How answers are worded, as a part of an evaluation's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixing_buddy.evaluation.grading import song_key
from mixing_buddy.evaluation.tables import Table, figure, number
from mixing_buddy.evaluation.text_metrics import (
    MODEL_FREE,
    compare_systems,
    row_references,
    text_metrics,
)

_NAMES = {
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "bert_score": "BERTScore",
    "similarity": "similarity",
}
_CAUTION = (
    "A text can be near and wrong, as raise and lower differ in one word: whether advice is right, "
    "joint says."
)


@dataclass(frozen=True)
class TextSettings:
    """What texts are measured by: always `MODEL_FREE`, and what models are given for.

    Args:
        bert_score_model: path or Hub id of a masked language model.
        similarity_model: path or Hub id of a sentence-transformers model.
    """

    bert_score_model: str | None = None
    similarity_model: str | None = None

    @property
    def which(self) -> tuple[str, ...]:
        """Names of the measures."""
        models = {"bert_score": self.bert_score_model, "similarity": self.similarity_model}
        return (*MODEL_FREE, *(name for name, model in models.items() if model is not None))

    def check(self) -> None:
        """Measure one text, so that what is missing is known before a model is asked for hours.

        Raises:
            MixingBuddyError: a library or a model is missing.
        """
        text = "Raise the vocals by 3 to 6 dB."
        text_metrics([text], [[text]], self.which, **vars(self))


def measure_texts(
    rows: Sequence[Mapping[str, Any]],
    systems: Mapping[str, Sequence[str]],
    are_right: Mapping[str, Sequence[bool]],
    settings: TextSettings,
    *,
    seed: int = 0,
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Measure the answers of several systems against the references of their rows.

    Args:
        rows: dataset rows.
        systems: answers by name of the system.
        are_right: likewise, which of them are right (joint).
        settings: what they are measured by.
        seed: what intervals are drawn from.

    Returns:
        For each system its measures, and their intervals: what `compare_systems` returns, and
        `right` and `wrong`, means of `best_of` over right and over wrong answers (None where there
        are none).
    """
    found = compare_systems(
        systems,
        row_references(rows),
        settings.which,
        songs=[song_key(row) for row in rows],
        seed=seed,
        **vars(settings),
    )
    results = {}
    for name, measures in found.items():
        is_right = np.array(are_right[name], dtype=bool)
        intervals = {}
        for measure, sums in measures.items():
            values = np.array(sums.pop("best_of_row"))
            intervals[measure] = sums.pop("intervals")
            for key, kept in (("right", values[is_right]), ("wrong", values[~is_right])):
                sums[key] = float(kept.mean()) if len(kept) else None
        results[name] = (measures, intervals)
    return results


def count_references(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Count what answers are compared with.

    Args:
        rows: dataset rows.

    Returns:
        `num_rows`, how many rows have references (the others are compared with their response),
        and `per_row`, how many texts a row has to be compared with, on average.
    """
    return {
        "num_rows": sum(bool(row.get("references")) for row in rows),
        "per_row": sum(map(len, row_references(rows))) / len(rows),
    }


def text_headline(report: Mapping[str, Any]) -> str:
    """Say in a sentence how near the wording comes."""
    figures = [
        f"{_NAMES[name]} {number(sums['best_of'], _unit(sums))}"
        for name, sums in report["text"].items()
    ]
    nearest = "the nearest reference" if _has_several(report) else "the one reference"
    return f"In wording, against {nearest} of a row: {', '.join(figures)}."


def text_tables(report: Mapping[str, Any], systems: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Set the wording of every system side by side, and show that of the model from near.

    Args:
        report: what `build_report` returned.
        systems: by the name to be shown the sums of each, the model's (the report) among them.
    """
    own = report["text"]
    header = ["system", *(f"{_NAMES[name]} ({_unit(sums)})" for name, sums in own.items())]
    rows = [
        [
            name,
            *(
                figure(each["best_of"], sums["intervals"]["text"][measure]["best_of"], _unit(each))
                for measure, each in sums["text"].items()
            ),
        ]
        for name, sums in systems.items()
        if "text" in sums
    ]
    nearest = "nearest reference" if _has_several(report) else "reference"
    tables = [Table(f"Nearness to the {nearest}", header, rows)]

    means, heads = ["best_of"], [nearest]
    if _has_several(report):
        means, heads = [*means, "mean_of"], [*heads, "mean of references"]
    rows = []
    for name, sums in own.items():
        intervals, unit = report["intervals"]["text"][name], _unit(sums)
        cells = [figure(sums[mean], intervals[mean], unit) for mean in means]
        split = [number(sums[key], unit) for key in ("right", "wrong")]
        rows.append([f"{_NAMES[name]} ({unit})", *cells, *split])
    rows.append(["BLEU, corpus (of 100)", number(own["bleu"]["corpus"], "of 100")])
    rows[-1] += ["-"] * (len(heads) + 1)
    num_right = round(report["joint"] * report["num_rows"])
    counts = {"right": num_right, "wrong": report["num_rows"] - num_right}
    heads += [f"of {count} {name} answers" for name, count in counts.items()]
    return [*tables, Table("This model's answers", ["", *heads], rows)]


def text_notes(report: Mapping[str, Any]) -> list[str]:
    """Say what the texts were compared with, and how."""
    references, num_rows = report["references"], report["num_rows"]
    if not references["num_rows"]:
        compared = (
            "The dataset has no references: every answer is compared with the one response of its "
            "row, so that a right answer in other words counts as far off. `mixing-buddy build "
            "--references 5` gives several."
        )
    elif references["num_rows"] < num_rows:
        compared = (
            f"{references['num_rows']} of {num_rows} rows have references; the answers to the "
            "others are compared with the one response of their row."
        )
    elif _has_several(report):
        compared = f"Every answer is compared with {references['per_row']:.3g} references."
    else:
        compared = "Every answer is compared with the one reference of its row."
    if _has_several(report):
        compared += " The nearest counts, or their mean."
    how = "; ".join(f"{_NAMES[name]}: {sums['note']}" for name, sums in report["text"].items())
    return [f"{compared} {_CAUTION}", f"{how}."]


def _unit(sums: Mapping[str, Any]) -> str:
    return f"of {sums['perfect']:g}"


def _has_several(report: Mapping[str, Any]) -> bool:
    return report["references"]["per_row"] > 1
