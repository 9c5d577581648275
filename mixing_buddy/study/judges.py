"""A judge's scores beside those of people, answer by answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixing_buddy.errors import StudyError
from mixing_buddy.study.crossed import percentiles
from mixing_buddy.study.material import Study

#: Which of the judge's criteria is compared with which question or code: fixed before data come in.
COMPARED: dict[str, str] = {
    "correct_adjustment": "correctness",
    "specific_to_audio": "specificity",
    "no_overreach": "within_gain",
    "mean": "mean",
    "rank": "mean",
}

#: A correlation over fewer answers than this is not worked out.
MIN_ANSWERS = 5


@dataclass(frozen=True)
class Judge:
    """What a judge said of the answers in a study.

    Args:
        name: of the judge's model.
        scores: `item`, `system`, `question` (a criterion, "mean" of all criteria, or "rank", the
            mean rank with its sign turned, so that more is better) and `value`.
    """

    name: str
    scores: pd.DataFrame


def read_judge(folder: Path, study: Study) -> Judge:
    """Read what ``mixing-buddy judge --out`` wrote.

    Args:
        folder: that folder.
        study: the study; answers of other rows and systems are left out.

    Raises:
        StudyError: no such folder, damaged files, another text under the same system, or none of
            the study's answers.
    """
    path = folder / "judgements.jsonl"
    try:
        name = json.loads((folder / "judge.json").read_text("utf-8"))["judge"]["model"]
        lines = [json.loads(text) for text in path.read_text("utf-8").splitlines() if text.strip()]
        by_uid = {line["uid"]: line for line in lines}
        rows = [
            {"item": item.name, "system": system, "question": criterion, "value": float(value)}
            for item in study.items
            if item.uid in by_uid
            for system in study.systems
            if system in by_uid[item.uid]["answers"]
            for criterion, value in _scores(by_uid[item.uid], system, item.answers[system]).items()
        ]
    except OSError as error:
        raise StudyError(
            f"{folder}: {error.strerror}: {error.filename}. Give a folder that `mixing-buddy judge "
            "--out` wrote."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{folder}: {error}") from error
    if not rows:
        raise StudyError(
            f"{folder}: the judge scored none of this study's answers: judge the same files under "
            f"the same names ({', '.join(study.systems)})."
        )
    return Judge(str(name), pd.DataFrame(rows))


def _scores(line: dict[str, Any], system: str, answer: str) -> dict[str, float]:
    """Scores of one system's answer in one line; nothing where the judge gave none."""
    said = line["answers"][system]
    if said.strip() != answer:
        raise StudyError(
            f"{line['uid']}: the judge saw another answer of {system!r} than people did: it was "
            "given another file under that name."
        )
    found: dict[str, float] = {}
    scores = line["scores"][line["texts"].index(said)]
    if scores is not None:
        found |= {**scores, "mean": float(np.mean(list(scores.values())))}
    ranks = line.get("mean_ranks")
    if ranks is not None:
        found["rank"] = -ranks[system]
    return found


def people_scores(ratings: pd.DataFrame, codes: pd.DataFrame) -> pd.DataFrame:
    """What people said of each answer, over people: `item`, `system`, `question`, `value`.

    Args:
        ratings: see `ratings_of`.
        codes: see `codes_of`; "yes" counts 1, "no" 0.

    Returns:
        A mean for each question and code, and "mean" over all questions (not codes).
    """
    keys = ["item", "system", "question"]
    said_yes = codes.assign(value=(codes["value"] == "yes").astype(float))
    single = pd.concat([ratings, said_yes]).groupby(keys)["value"].mean().reset_index()
    of_questions = single[single["question"].isin(ratings["question"])]
    overall = of_questions.groupby(["item", "system"])["value"].mean().reset_index()
    return pd.concat([single, overall.assign(question="mean")], ignore_index=True)


def correlate(
    judge: pd.DataFrame, people: pd.DataFrame, *, num_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Spearman's and Kendall's correlation (tau-b) between a judge and people.

    Args:
        judge: scores, see `Judge`.
        people: see `people_scores`.
        num_resamples: for the intervals, over items with all their answers.
        seed: what these are drawn from.

    Returns:
        A row for each pair of criterion and question: `criterion`, `question`, `count` (answers),
        `planned` (whether `COMPARED` names it), `spearman` and `kendall` (None over too few answers
        and where one side never varies), and for planned ones `spearman_interval` and
        `kendall_interval`.
    """
    from scipy.stats import kendalltau, spearmanr

    found = []
    for criterion, scored in judge.groupby("question", sort=False):
        for question, said in people.groupby("question", sort=False):
            both = scored.merge(said, on=["item", "system"], suffixes=("_judge", "_people"))
            values = both[["value_judge", "value_people"]].to_numpy()
            planned = COMPARED.get(str(criterion)) == question
            row = {
                "criterion": criterion,
                "question": question,
                "count": len(both),
                "planned": planned,
            }
            # By place of item: what is drawn is items, with the answers of all systems.
            places = list(both.groupby("item").indices.values())
            for name, measure in (("spearman", spearmanr), ("kendall", kendalltau)):
                row[name] = _correlation(measure, values)
                if planned and row[name] is not None:
                    rng = np.random.default_rng(seed)
                    draws = (
                        rng.integers(len(places), size=len(places)) for _ in range(num_resamples)
                    )
                    drawn = (np.concatenate([places[each] for each in draw]) for draw in draws)
                    replicates = [_correlation(measure, values[rows]) for rows in drawn]
                    row[f"{name}_interval"] = percentiles(np.array(replicates, dtype=float))
            found.append(row)
    return found


def _correlation(measure: Callable, values: np.ndarray) -> float | None:
    if len(values) < MIN_ANSWERS or (np.ptp(values, axis=0) == 0).any():
        return None
    return float(measure(values[:, 0], values[:, 1]).statistic)
