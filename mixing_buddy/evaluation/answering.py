"""Asking a model about the rows of a dataset, so that a broken run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixing_buddy.errors import OutputError, RecipeError
from mixing_buddy.files import write_whole

#: Configs whose answers can be graded.
GRADED_CONFIGS: tuple[str, ...] = ("single_mix", "stems", "differential")

_SETTINGS = "settings.json"
_ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Answered:
    """Rows, and what a model made of them.

    Args:
        rows: dataset rows without audio, labelled columns as names.
        answers: a text for each.
        posteriors: for each, what `name_posterior` returned; None where no ranking was asked for.
        num_resumed: how many answers an earlier run had left.
        duration_s: how long asking took, without them.
    """

    rows: Sequence[Mapping[str, Any]]
    answers: Sequence[str]
    posteriors: Sequence[Mapping[str, float]] | None
    num_resumed: int
    duration_s: float


class AnswerLog:
    """Keeps answers in a folder as they come, ``answers.jsonl``, by the uid of their rows.

    Args:
        folder: made if it is missing.
        settings: what the answers depend on; kept in ``settings.json``.

    Raises:
        OutputError: the folder holds answers to other questions, or answers without settings, or
            can't be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / _ANSWERS
        self.known: dict[str, dict[str, Any]] = {}
        place = folder / _SETTINGS
        try:
            if place.is_file():
                _check_settings(folder, json.loads(place.read_text("utf-8")), settings)
                self._read()
            elif self.path.exists():
                raise OutputError(
                    f"{self.path} holds answers, and no {_SETTINGS} says to what: choose another "
                    "folder, or remove it."
                )
            else:
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(place, json.dumps(dict(settings), indent=2) + "\n")
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"{folder} can't be used for answers: {type(error).__name__}: {error}. Choose "
                "another folder, or remove it."
            ) from error

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add answers, safe on disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        self.known |= {line["uid"]: dict(line) for line in lines}

    def _read(self) -> None:
        if not self.path.is_file():
            return
        data = self.path.read_bytes()
        # A run that was killed while it wrote leaves half a line.
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        lines = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
        if not all(isinstance(line["answer"], str) for line in lines):
            raise ValueError(f"a line of {_ANSWERS} holds no answer")
        self.known = {line["uid"]: line for line in lines}


def answer_rows(
    load_buddy: Callable[[], Any],
    dataset: str,
    songs: Sequence[str],
    *,
    config: str = "single_mix",
    split: str = "test",
    prompt_category: str | None = None,
    limit: int | None = None,
    rank: bool = False,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Answered:
    """Ask a model about the rows of a dataset, with a progress bar.

    Args:
        load_buddy: makes the ``MixingBuddy``; not called where every answer is there already.
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        songs: song folders as ROOT or NAME=ROOT.
        config: one of `GRADED_CONFIGS`.
        split: split to take rows from.
        prompt_category: take only rows whose prompts are of this kind; all if None.
        limit: how many rows, evenly spread over the split; all if None.
        rank: ask as well how likely each piece of advice is; for rows that have an anchor.
        out: folder to keep answers in as they come, and to go on from; none if None.
        settings: what the answers depend on beside the rows, such as the state of the weights;
            answers in ``out`` that were made with others are refused.

    Raises:
        RecipeError: there are no such rows, or they can't be graded, or not ranked.
        OutputError: ``out`` holds answers to other questions.
    """
    from tqdm.auto import tqdm

    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rendering import RenderTransform, parse_sources

    table = _open_table(dataset, config, split, prompt_category, limit, rank)
    transform = RenderTransform(parse_sources(songs))
    rows = [decode_labels(row) for row in table]
    known: dict[str, dict[str, Any]] = {}
    log = None
    if out is not None:
        log = AnswerLog(out, {**(settings or {}), "rank": rank, "rows": digest_rows(rows)})
        known = log.known
    unanswered = [place for place, row in enumerate(rows) if row["uid"] not in known]
    num_resumed = len(rows) - len(unanswered)
    started_s = time.perf_counter()
    if unanswered:
        rendered = table.with_transform(transform)
        buddy = load_buddy()
        with tqdm(total=len(rows), initial=num_resumed, desc="Asking", unit="row") as bar:
            for start in range(0, len(unanswered), buddy.batch_size):
                places = unanswered[start : start + buddy.batch_size]
                batch = rendered[places]
                lines = _ask(buddy, config, [rows[place] for place in places], batch, rank)
                if log is None:
                    known |= {line["uid"]: line for line in lines}
                else:
                    log.append(lines)
                bar.update(len(places))
    found = [(log.known if log else known)[row["uid"]] for row in rows]
    return Answered(
        rows,
        [line["answer"] for line in found],
        [line["posterior"] for line in found] if rank else None,
        num_resumed,
        time.perf_counter() - started_s,
    )


def digest_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Fingerprint of what is asked and what is right, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for row in rows:
        parts = (row["uid"], row["instruction"], row["response"], row["stem_gains_db"])
        digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def name_posterior(ranking) -> dict[str, float]:
    """Write a ``Ranking`` down: probability of "balanced" and of each "STEM CATEGORY"."""
    return {
        "balanced" if each.is_balanced else f"{each.stem} {each.category}": float(probability)
        for each, probability in zip(ranking.candidates, ranking.posterior, strict=True)
    }


def _open_table(
    dataset: str,
    config: str,
    split: str,
    prompt_category: str | None,
    limit: int | None,
    rank: bool,
):
    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rows import open_rows, spread

    if config not in GRADED_CONFIGS:
        raise RecipeError(
            f"{dataset}: {config} can't be graded; choose one of {', '.join(GRADED_CONFIGS)}."
        )
    if rank and config == "differential":
        raise RecipeError(
            f"{dataset}: advice of {config} is no closed set, so it can't be ranked. Leave --rank "
            "out, or choose single_mix or stems."
        )
    table = open_rows(dataset, config, split)
    if prompt_category is not None:
        kinds = decode_labels({"prompt_category": table["prompt_category"][:]})["prompt_category"]
        chosen = [place for place, kind in enumerate(kinds) if kind == prompt_category]
        if not chosen:
            raise RecipeError(
                f"{dataset}: no row of {config}, {split}, has a prompt of the kind "
                f"{prompt_category!r} (there are: {', '.join(sorted(set(kinds)))})."
            )
        table = table.select(chosen)
    return spread(table, limit)


def _ask(
    buddy, config: str, rows: Sequence[Mapping[str, Any]], batch: Mapping[str, Any], rank: bool
) -> list[dict[str, Any]]:
    """Answer one batch: a line of the log for each row."""
    answers = buddy.answer(batch["clips"], batch["instruction"])
    lines = [{"uid": r["uid"], "answer": each} for r, each in zip(rows, answers, strict=True)]
    if rank:
        # In "stems" the clips say which stems sound; a mix does not.
        stems = None
        if config == "stems":
            stems = [[clip["name"] for clip in row["audios"]] for row in rows]
        rankings = buddy.rank(
            batch["clips"],
            [row["anchor"] for row in rows],
            stems=stems,
            mode=config,
            prompt_categories=[row["prompt_category"] for row in rows],
            claims=[_claim(row) for row in rows],
            instructions=batch["instruction"],
        )
        for line, ranking in zip(lines, rankings, strict=True):
            line["posterior"] = name_posterior(ranking)
    return lines


def _claim(row: Mapping[str, Any]):
    from mixing_buddy.claims import Claim
    from mixing_buddy.flaws import Direction

    if row.get("claim_stem") is None:
        return None
    return Claim(row["claim_stem"], Direction(row["claim_direction"]))


def _check_settings(folder: Path, stored: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    # As JSON has them, so that a tuple equals the list that was read back.
    wanted = json.loads(json.dumps(dict(settings)))
    for name in {**stored, **wanted}:
        if stored.get(name) != wanted.get(name):
            raise OutputError(
                f"{folder} holds the answers of another run ({name} was {stored.get(name)!r}, now "
                f"{wanted.get(name)!r}): choose another folder, or remove it."
            )
