"""What participants and annotators said: who counts, means with intervals, agreement."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mixing_buddy.errors import StudyError
from mixing_buddy.extras import import_extra
from mixing_buddy.study.abx import LEVELS_DB, SIGNIFICANCE
from mixing_buddy.study.crossed import CrossedBootstrap, percentiles
from mixing_buddy.study.material import Study
from mixing_buddy.study.questions import COMMENT
from mixing_buddy.study.store import ANNOTATOR, RATER, Store

#: Half of a participant's pages must have taken at least as long as the music on them, in seconds.
MIN_MEDIAN_PAGE_S = 10.0

#: From so many pages on, whoever gave one and the same answer everywhere is left out.
MIN_PAGES_TO_VARY = 5

#: Agreement is worked out in fewer resamples than means: each costs a hundred times as much.
MAX_AGREEMENT_RESAMPLES = 500


@dataclass(frozen=True)
class Tables:
    """Everything that was said, one row an answer; participants are numbers.

    Args:
        participants: `participant`, `role`, `consent`, and `about_...` for each answer at the
            start.
        pages: `participant`, `position`, `item`, `system`, `label`, `seconds` (from showing to
            finishing; NaN if not finished).
        answers: `participant`, `role`, `item`, `system`, `question`, `value`.
        trials: `participant`, `position`, `pair`, `level_db`, `x`, `answer`.
        abx: `participant`, `level_db`, `num_trials`, `num_correct`, `p_value`.
    """

    participants: pd.DataFrame
    pages: pd.DataFrame
    answers: pd.DataFrame
    trials: pd.DataFrame
    abx: pd.DataFrame


def read_tables(study: Study) -> Tables:
    """Read a study's answers.

    Raises:
        StudyError: nobody has answered yet.
    """
    if not (study.folder / "answers.sqlite").is_file():
        raise StudyError(f"{study.folder}: no answers yet; `mixing-buddy study run` asks for them.")
    with Store(study).transaction() as database:

        def table(query: str) -> pd.DataFrame:
            cursor = database.execute(query)
            names = [column[0] for column in cursor.description]
            return pd.DataFrame([tuple(row) for row in cursor], columns=names)

        participants = table("SELECT participant, role, consent FROM participants")
        background = table("SELECT participant, question, value FROM background")
        pages = table("SELECT * FROM pages ORDER BY participant, position")
        answers = table(
            "SELECT participant, role, item, system, question, value "
            "FROM answers JOIN pages USING (participant, position) "
            "JOIN participants USING (participant) ORDER BY participant, position, question"
        )
        trials = table(
            "SELECT participant, position, pair, level_db, x, answer FROM abx_trials "
            "ORDER BY participant, position"
        )
        abx = table("SELECT * FROM abx_results ORDER BY participant, level_db DESC")
    if len(background):
        wide = background.pivot(index="participant", columns="question", values="value")
        participants = participants.merge(wide.add_prefix("about_"), how="left", on="participant")
    # In UTC even where a whole column is empty, or the two could not be subtracted.
    shown, finished = (
        pd.to_datetime(pages[name], utc=True) for name in ("shown_at", "finished_at")
    )
    pages["seconds"] = (finished - shown).dt.total_seconds()
    pages = pages.drop(columns=["shown_at", "finished_at"])
    return Tables(participants, pages, answers, trials, abx)


def ratings_of(tables: Tables) -> pd.DataFrame:
    """Ratings as numbers: `participant`, `item`, `system`, `question`, `value`."""
    is_rating = (tables.answers["role"] == RATER) & (tables.answers["question"] != COMMENT)
    ratings = tables.answers[is_rating].drop(columns="role").reset_index(drop=True)
    return ratings.assign(value=pd.to_numeric(ratings["value"]))


def codes_of(tables: Tables) -> pd.DataFrame:
    """Codes: `annotator`, `item`, `system`, `question`, `value` ("yes" or "no")."""
    is_code = (tables.answers["role"] == ANNOTATOR) & (tables.answers["question"] != COMMENT)
    codes = tables.answers[is_code].drop(columns="role").reset_index(drop=True)
    return codes.rename(columns={"participant": "annotator"})


def find_excluded(tables: Tables) -> dict[int, str]:
    """Who is left out of the analysis, and why; the rules are fixed before data come in.

    Returns:
        The first reason that applies, by number of the participant.
    """
    raters = tables.participants.loc[tables.participants["role"] == RATER, "participant"]
    easiest = tables.abx[tables.abx["level_db"] == LEVELS_DB[0]].set_index("participant")
    ratings = ratings_of(tables)
    reasons = {}
    for number in raters.tolist():
        own = ratings[ratings["participant"] == number]
        seconds = tables.pages.loc[tables.pages["participant"] == number, "seconds"].dropna()
        if number not in easiest.index:
            reasons[number] = "did not finish the listening test"
        elif easiest.loc[number, "p_value"] >= SIGNIFICANCE:
            reasons[number] = f"did not hear {LEVELS_DB[0]:g} dB (p >= {SIGNIFICANCE:g})"
        elif own.empty:
            reasons[number] = "rated nothing"
        elif len(seconds) and seconds.median() < MIN_MEDIAN_PAGE_S:
            reasons[number] = f"half of the pages in under {MIN_MEDIAN_PAGE_S:g} s"
        elif len(seconds) >= MIN_PAGES_TO_VARY and own["value"].nunique() == 1:
            reasons[number] = "one and the same answer everywhere"
    return reasons


def means(
    ratings: pd.DataFrame, *, num_resamples: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Means of every system and question, and differences between systems.

    Args:
        ratings: see `ratings_of`.
        num_resamples: for the intervals, over participants and items; see `CrossedBootstrap`.
        seed: what these are drawn from.

    Returns:
        Rows with `question`, `system`, `value`, `interval`, `count`; and rows with `question`,
        `system`, `other`, `value` (mean of the first less that of the other) and `interval`.
    """
    found, differences = [], []
    for question, table in ratings.groupby("question", sort=False):
        bootstrap = CrossedBootstrap(
            table["participant"], table["item"], num_resamples=num_resamples, seed=seed
        )
        values = table["value"].to_numpy(dtype=float)
        replicates, middle = {}, {}
        for system in sorted(table["system"].unique()):
            counted = (table["system"] == system).to_numpy()
            replicates[system] = bootstrap.means(values, counted)
            middle[system] = float(values[counted].mean())
            found.append(
                {
                    "question": question,
                    "system": system,
                    "value": middle[system],
                    "interval": bootstrap.interval(replicates[system]),
                    "count": int(counted.sum()),
                }
            )
        # The same people and items are drawn for both: what is strict with one is with the other.
        differences += [
            {
                "question": question,
                "system": one,
                "other": other,
                "value": middle[one] - middle[other],
                "interval": bootstrap.interval(replicates[one] - replicates[other]),
            }
            for one, other in combinations(sorted(middle), 2)
        ]
    return found, differences


def ordinal_alpha(ratings: pd.DataFrame, scale: tuple[str, ...]) -> float | None:
    """Krippendorff's alpha of ratings of one question, on an ordinal scale.

    Args:
        ratings: see `ratings_of`.
        scale: all answers that can be given, from lowest to highest.

    Returns:
        1 where all raters of an answer agree, 0 where they agree as by chance. None where no
        answer has two raters, or nobody ever gave another rating: there is nothing to tell then.
    """
    krippendorff = import_extra("krippendorff", "study")

    units = ratings.pivot_table(index="participant", columns=["item", "system"], values="value")
    shared = units.loc[:, units.notna().sum() > 1]
    if shared.empty or len(np.unique(shared.to_numpy()[shared.notna().to_numpy()])) < 2:
        return None
    return float(
        krippendorff.alpha(
            reliability_data=shared.to_numpy(dtype=float),
            value_domain=[float(value) for value in scale],
            level_of_measurement="ordinal",
        )
    )


def annotator_agreement(
    codes: pd.DataFrame, *, num_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Cohen's kappa of two annotators, code by code.

    Args:
        codes: see `codes_of`.
        num_resamples: for the intervals, over answers; at most `MAX_AGREEMENT_RESAMPLES` are used.
        seed: what these are drawn from.

    Returns:
        Rows with `question`, `count` (answers coded by both), `same` (share coded alike), `kappa`
        (None where both used but one code: agreement by chance is then certain) and `interval`.

    Raises:
        StudyError: codes of more than two annotators.
    """
    cohen_kappa_score = import_extra("sklearn.metrics", "study").cohen_kappa_score

    annotators = sorted(codes["annotator"].unique())
    if len(annotators) > 2:
        raise StudyError(f"{len(annotators)} annotators: Cohen's kappa is between two.")
    found = []
    for question, table in codes.groupby("question", sort=False):
        wide = table.pivot(index=["item", "system"], columns="annotator", values="value").dropna()
        if wide.shape[1] < 2 or wide.empty:
            continue
        one, other = wide.to_numpy().T
        row = {"question": question, "count": len(wide), "same": float((one == other).mean())}
        row |= {"kappa": None, "interval": None}
        if len(np.unique(wide.to_numpy())) > 1:
            row["kappa"] = float(cohen_kappa_score(one, other))
            rng = np.random.default_rng(seed)
            replicates = [
                _kappa_of_draw(one, other, rng.integers(len(one), size=len(one)))
                for _ in range(min(num_resamples, MAX_AGREEMENT_RESAMPLES))
            ]
            row["interval"] = percentiles(np.array(replicates))
        found.append(row)
    return found


def _kappa_of_draw(one: np.ndarray, other: np.ndarray, drawn: np.ndarray) -> float:
    cohen_kappa_score = import_extra("sklearn.metrics", "study").cohen_kappa_score

    one, other = one[drawn], other[drawn]
    if len(np.unique([one, other])) < 2:
        return float("nan")
    return float(cohen_kappa_score(one, other))


def coded_shares(codes: pd.DataFrame) -> pd.DataFrame:
    """Share of "yes" by system and code, over annotators: `system`, `question`, `value`."""
    said_yes = codes.assign(value=(codes["value"] == "yes").astype(float))
    return said_yes.groupby(["system", "question"], sort=False)["value"].mean().reset_index()
