"""What is judged: rows of a dataset with the answers of every system."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixing_buddy.advice import parse_advice, parse_changes
from mixing_buddy.errors import JudgingError
from mixing_buddy.evaluation.differential import grade_changes
from mixing_buddy.evaluation.grading import grade, mix_key, song_key
from mixing_buddy.labels import decode_labels
from mixing_buddy.rows import open_rows
from mixing_buddy.schema import DIFFERENTIAL

#: Control that is always right: another wording of the right answer.
RIGHT_CONTROL = "control: right"

#: Control that is always wrong: the right answer to another row, with other advice.
WRONG_CONTROL = "control: wrong"

# Columns that older datasets lack.
_NEEDED = ("needed_change_db", "references")


@dataclass(frozen=True)
class Item:
    """One row and what each system answered to it.

    Args:
        row: dataset row with names for labels, without audio.
        answers: text of each system by its name.
        joint: whether the metric calls stem and direction right (of every change, where several
            are asked for), by system.
    """

    row: Mapping[str, Any]
    answers: Mapping[str, str]
    joint: Mapping[str, bool]

    @property
    def song(self) -> str:
        """The song that the row is from, as intervals count songs."""
        return song_key(self.row)


def parse_systems(texts: Sequence[str]) -> dict[str, Path]:
    """Read arguments of the form ``[NAME=]FILE``.

    Without a name, a file called ``answers.jsonl`` is named by its folder, others by their stem.

    Raises:
        JudgingError: a file is missing, or two have one name.
    """
    systems: dict[str, Path] = {}
    for text in texts:
        name, separator, place = text.partition("=")
        path = Path(place if separator and not Path(text).exists() else text)
        if not path.is_file():
            raise JudgingError(
                f"{path}: no such file. Give answers.jsonl of `mixing-buddy evaluate --out`."
            )
        if path == Path(text):
            name = path.resolve().parent.name if path.name == "answers.jsonl" else path.stem
        if not name or name in systems or name in (RIGHT_CONTROL, WRONG_CONTROL):
            raise JudgingError(
                f"{text}: {name!r} is no name, or is taken: give another, as in mine={path}."
            )
        systems[name] = path
    return systems


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Read ``answers.jsonl``: a line with `uid` and `answer` for each row.

    Raises:
        JudgingError: a line is no such thing, or a uid comes twice.
    """
    lines: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            uid, answer = line["uid"], line["answer"]
        except (ValueError, KeyError, TypeError) as error:
            raise JudgingError(
                f"{path}, line {number}: no JSON object with `uid` and `answer` ({error})."
            ) from error
        if not isinstance(uid, str) or not isinstance(answer, str) or uid in lines:
            raise JudgingError(
                f"{path}, line {number}: `uid` and `answer` must be texts, and {uid!r} new."
            )
        # Half a surrogate pair, as a cut-off answer may end in, can be neither sent nor hashed.
        lines[uid] = line | {"answer": answer.encode("utf-8", "replace").decode()}
    if not lines:
        raise JudgingError(f"{path}: no answers in it.")
    return lines


def read_rows(dataset: str, config: str, split: str) -> dict[str, dict[str, Any]]:
    """Read the rows of one split by uid, with names for labels and without audio.

    Raises:
        RecipeError: there is no such dataset, config or split.
        JudgingError: its rows lack what a judge has to know.
    """
    table = open_rows(dataset, config, split)
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise JudgingError(
            f"{dataset}: no column {', '.join(missing)}: build it anew with this version."
        )
    left_out = [name for name in ("audios", "messages") if name in table.column_names]
    return {row["uid"]: decode_labels(row) for row in table.remove_columns(left_out)}


def gather(
    rows: Mapping[str, Mapping[str, Any]],
    systems: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    limit: int | None = None,
    controls: bool = True,
) -> list[Item]:
    """Put rows and answers together: the rows that every system answered, in order of uid.

    Args:
        rows: by uid; see `read_rows`.
        systems: lines by uid, by name of system; see `read_answers`.
        limit: how many rows, evenly spread; all if None.
        controls: add `RIGHT_CONTROL`, and `WRONG_CONTROL` where rows with other advice exist.

    Raises:
        JudgingError: a line names no row, or no row has an answer of every system.
    """
    for name, lines in systems.items():
        unknown = next((uid for uid in lines if uid not in rows), None)
        if unknown is not None:
            raise JudgingError(
                f"{name}: there is no row {unknown!r} in this dataset, config and split: give "
                "--dataset, --mode and --split as `mixing-buddy evaluate` had them."
            )
    common = sorted(set.intersection(*(set(lines) for lines in systems.values())))
    if not common:
        raise JudgingError("No row was answered by every system: evaluate them on the same rows.")
    count = min(limit or len(common), len(common))
    chosen = [rows[common[place * len(common) // count]] for place in range(count)]
    wrong = _wrong_controls(chosen) if controls else None
    items = []
    for row in chosen:
        answers = {name: each[row["uid"]]["answer"].strip() for name, each in systems.items()}
        if controls:
            answers[RIGHT_CONTROL] = [row["response"], *row["references"]][-1]
        if wrong is not None:
            answers[WRONG_CONTROL] = wrong[row["uid"]]
        joint = {name: _joint(row, answer) for name, answer in answers.items()}
        items.append(Item(row, answers, joint))
    return items


def _joint(row: Mapping[str, Any], answer: str) -> bool:
    if row["mode"] == DIFFERENTIAL:
        return grade_changes(row, parse_changes(answer))["joint"]
    return grade(row, parse_advice(answer))["joint"]


def _verdict(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the right advice is, as far as it tells right from wrong."""
    if row["mode"] == DIFFERENTIAL:
        moves = sorted(row["needed_change_db"].items())
        return tuple((stem, round(db)) for stem, db in moves if abs(db) >= 0.5)
    return () if row["direction"] == "none" else (row["target"], row["direction"])


def _wrong_controls(rows: Iterable[Mapping[str, Any]]) -> dict[str, str] | None:
    """For each row a right answer to another one; None where some row has no such other."""
    # By hash, not by place: one system more or less changes no control.
    others = sorted(rows, key=lambda row: hashlib.sha256(row["uid"].encode()).digest())
    found: dict[str, str] = {}
    for place, row in enumerate(others):
        following = (others[(place + step) % len(others)] for step in range(1, len(others)))
        other = next(
            (o for o in following if _verdict(o) != _verdict(row) and mix_key(o) != mix_key(row)),
            None,
        )
        if other is None:
            return None
        found[row["uid"]] = other["response"]
    return found
