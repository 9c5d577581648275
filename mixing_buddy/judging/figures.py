"""What a judge's scores and rankings come to, with intervals over songs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.judging.items import RIGHT_CONTROL, WRONG_CONTROL
from mixing_buddy.judging.prompts import criteria
from mixing_buddy.judging.ranking import distinct_texts, mean_ranks, usable, wins
from mixing_buddy.judging.study import Judged, count_failures

#: From this score of the first criterion on, the judge calls stem and direction right; see the
#: anchors in ``templates/judge_rubric.yaml``: 3 is a right move of a size that is far off.
RIGHT_FROM_SCORE = 3


def sum_up(judged: Sequence[Judged], *, num_resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Sum up a judgement.

    Args:
        judged: rows and what was said of them.
        num_resamples: how many sets of songs the intervals are made from.
        seed: what these sets are drawn from.

    Returns:
        A nested dict. A figure is `value`, `interval` (95 %, over songs; None with fewer than two
        songs) and `count` (of what it is a mean over); value None over nothing.

        - `num_rows`, `num_songs`, `failures` (see `count_failures`).
        - `systems`: for each, `scores` by criterion, `score_failures` by kind (rows whose answer
          got no score), `mean_rank`, `ranked_first` (equal best ones share it), `metric_joint`
          (the metric's share of right answers).
        - `win_rates`: `[a][b]`, how often a stands before b.
        - `position`: `earlier_preferred` (of two answers the one shown first is preferred; 0.5
          without bias), `consistent` (of two answers the same one wins when the order is
          reversed), `first_by_place` (how often each place shown wins), and
          `rankings_left_out` (came, but without their reverse).
        - `agreement`: with the metric's joint verdict, controls left out; see `_agreement`.
    """
    measure = _Measure(judged, num_resamples, seed)
    names = list(judged[0].item.answers)
    ranked_at_all = any(each.rankings for each in judged)
    # A row to which all systems gave one answer was not asked about: a tie that needs no judge.
    ranks = [mean_ranks(each.item, each.rankings) if ranked_at_all else None for each in judged]
    report: dict[str, Any] = {
        "num_rows": len(judged),
        "num_songs": len({each.item.song for each in judged}),
        "failures": count_failures(judged),
        "systems": {name: _system(judged, ranks, name, measure) for name in names},
    }
    if ranked_at_all:
        report["win_rates"] = {
            name: {
                other: measure([wins(j.item, j.rankings, name, other) for j in judged])
                for other in names
                if other != name
            }
            for name in names
        }
        report["position"] = _position(judged, measure)
    report["agreement"] = _agreement(judged, measure)
    return report


class _Measure:
    """Makes a figure of a value for each row, None where a row has none."""

    def __init__(self, judged: Sequence[Judged], num_resamples: int, seed: int) -> None:
        songs = [each.item.song for each in judged]
        self._bootstrap = SongBootstrap(songs, num_resamples=num_resamples, seed=seed)

    def __call__(self, values: Sequence[float | None]) -> dict[str, Any]:
        return self.ratio([(0.0, 0) if v is None else (float(v), 1) for v in values])

    def ratio(self, sums: Sequence[tuple[float, int]]) -> dict[str, Any]:
        """The same of a sum and a count for each row."""
        numerators, denominators = np.array(sums, dtype=float).reshape(-1, 2).T
        count = int(denominators.sum())
        interval = self._bootstrap.interval(numerators, denominators)
        return {
            "value": float(numerators.sum() / count) if count else None,
            "interval": interval and list(interval),
            "count": count,
        }


def _system(
    judged: Sequence[Judged],
    ranks: Sequence[dict[str, float] | None],
    name: str,
    measure: _Measure,
) -> dict[str, Any]:
    scores = [each.scores.get(each.item.answers[name]) for each in judged]
    failures = Counter(
        each.score_failures[each.item.answers[name]]
        for each in judged
        if each.item.answers[name] in each.score_failures
    )
    joint = [each.item.joint[name] for each in judged]
    return {
        "scores": {
            criterion: measure([None if score is None else score[criterion] for score in scores])
            for criterion in criteria()
        },
        "score_failures": dict(failures),
        "mean_rank": measure([None if rank is None else rank[name] for rank in ranks]),
        "ranked_first": measure([None if rank is None else _first(rank, name) for rank in ranks]),
        "metric_joint": measure(joint),
    }


def _first(ranks: dict[str, float], name: str) -> float:
    best = min(ranks.values())
    # Means of ranks are sums of halves over few orders: equal ones may differ in the last bit.
    winners = [each for each, rank in ranks.items() if rank - best < 1e-9]
    return 1 / len(winners) if name in winners else 0.0


def _position(judged: Sequence[Judged], measure: _Measure) -> dict[str, Any]:
    earlier, consistent, places = [], [], []
    most = max(len(distinct_texts(each.item)) for each in judged)
    for each in judged:
        counted = usable(each.rankings)
        won = [
            ranking.ranked.index(one) < ranking.ranked.index(two)
            for ranking in counted
            for one, two in combinations(ranking.shown, 2)
        ]
        earlier.append((float(sum(won)), len(won)))
        same = [
            (first.ranked.index(one) < first.ranked.index(two))
            == (second.ranked.index(one) < second.ranked.index(two))
            for first, second in zip(counted[::2], counted[1::2], strict=False)
            for one, two in combinations(first.shown, 2)
        ]
        consistent.append((float(sum(same)), len(same)))
        full = [ranking for ranking in counted if len(ranking.shown) == most]
        firsts = [ranking.shown.index(ranking.ranked[0]) for ranking in full]
        places.append([(float(firsts.count(place)), len(full)) for place in range(most)])
    came = sum(ranking.ranked is not None for each in judged for ranking in each.rankings)
    return {
        "earlier_preferred": measure.ratio(earlier),
        "consistent": measure.ratio(consistent),
        "first_by_place": [measure.ratio([row[place] for row in places]) for place in range(most)],
        "rankings_left_out": came - sum(len(usable(each.rankings)) for each in judged),
    }


def _agreement(judged: Sequence[Judged], measure: _Measure) -> dict[str, Any]:
    """How far the judge and the metric's joint verdict agree.

    Returns:
        - `same_verdict`: share of answers on which both say right, or both wrong, where the judge
          says right from `RIGHT_FROM_SCORE` on.
        - `score_where_right`, `score_where_wrong`: mean of the first criterion.
        - `auc`: how often a right answer scores higher than a wrong one, ties counting half; of
          any two answers, whatever their rows. 0.5 is chance; None where all are alike.
        - `right_before_wrong`: the same of two answers to one row, by rankings.
    """
    first = criteria()[0]
    same, right, wrong, pairs = [], [], [], []
    values: dict[bool, list[int]] = {True: [], False: []}
    for each in judged:
        here: dict[bool, list[int]] = {True: [], False: []}
        joint = {n: v for n, v in each.item.joint.items() if not _control(n)}
        for name, verdict in joint.items():
            score = each.scores.get(each.item.answers[name])
            if score is not None:
                here[verdict].append(score[first])
        num = len(here[True]) + len(here[False])
        agreed = sum(score >= RIGHT_FROM_SCORE for score in here[True])
        agreed += sum(score < RIGHT_FROM_SCORE for score in here[False])
        same.append((float(agreed), num))
        right.append((float(sum(here[True])), len(here[True])))
        wrong.append((float(sum(here[False])), len(here[False])))
        for verdict in (True, False):
            values[verdict] += here[verdict]
        won = [
            wins(each.item, each.rankings, one, two)
            for one, is_right in joint.items()
            for two, other_is_right in joint.items()
            if is_right and not other_is_right
        ]
        came = [value for value in won if value is not None]
        pairs.append((float(sum(came)), len(came)))
    return {
        "same_verdict": measure.ratio(same),
        "score_where_right": measure.ratio(right),
        "score_where_wrong": measure.ratio(wrong),
        "auc": _auc(values[True], values[False]),
        "right_before_wrong": measure.ratio(pairs),
    }


def _control(name: str) -> bool:
    return name in (RIGHT_CONTROL, WRONG_CONTROL)


def _auc(higher: Sequence[float], lower: Sequence[float]) -> float | None:
    if not higher or not lower:
        return None
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(higher, lower).statistic) / (len(higher) * len(lower))
