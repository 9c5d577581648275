"""How well anyone could do: listeners who know every stem's loudness in the mix.

A stem that stands 3 dB above the usual may be flawed, or be meant so. Nobody can tell these
apart by listening, so no model reaches 100 %. Two listeners measure how far one can get:

- `BayesListener` knows how the rows came about: balances vary from song to song by a Gaussian,
  fitted to the balanced mixes of training songs; a flaw adds a gain, uniform within the range of
  its category. It answers with the best posterior, which no other rule beats where the Gaussian
  holds.
- `BoostedListener` assumes nothing and learns from the training rows by gradient boosting.

Both hear levels alone, and of one chunk alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation.levels import MEASURES
from mixing_buddy.evaluation.verdicts import VERDICTS, possible_verdicts, true_verdicts
from mixing_buddy.extras import import_extra
from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.stems import ADVISED_STEMS, STEMS

_LOUDNESS = MEASURES.index("loudness_lufs")
# Standard deviation in dB of the level of a whole mix, which says nothing of its balance: so wide
# that it weighs nothing, so narrow that the covariance can be inverted.
_COMMON_LEVEL_SD_DB = 100.0
# Of a stem, added to what was measured: a few songs that agree by chance prove nothing.
_LEAST_SD_DB = 0.1


class BayesListener:
    """Knows how the rows came about; see the module."""

    def fit(self, rows: Sequence[Mapping[str, Any]], balanced_levels: np.ndarray) -> BayesListener:
        """Learn the usual balance, how far it varies, and how often each category comes.

        The tolerance that ``no_error`` rows were built with, if any, is read off their gains.

        Args:
            rows: training rows.
            balanced_levels: of shape `(num_rows, 4, 2)`, see `LevelMeter.balanced_levels`.

        Raises:
            MixingBuddyError: there are too few chunks in which all stems sound.
        """
        loudness = balanced_levels[..., _LOUDNESS]
        # Each chunk counts once, however many rows were made of it.
        chunks = [(row["source"], row["split"], row["song"], row["start_s"]) for row in rows]
        first = list({chunk: index for index, chunk in reversed(list(enumerate(chunks)))}.values())
        whole = loudness[first]
        whole = whole[~np.isnan(whole).any(axis=1)]
        if len(whole) < 2:
            raise MixingBuddyError(
                f"{len(whole)} training chunks in which all of {', '.join(STEMS)} sound: the usual "
                "balance can't be learnt from fewer than two. Give more songs."
            )
        self._mean_lufs = whole.mean(axis=0)
        self._covariance = np.cov(whole.T) + _COMMON_LEVEL_SD_DB**2
        self._covariance += np.eye(len(STEMS)) * _LEAST_SD_DB**2
        counts = Counter(Category(row["category"]) for row in rows)
        self._shares = {category: counts[category] / len(rows) for category in Category}
        balanced = [abs(r["gain_db"]) for r in rows if r["category"] == Category.NO_ERROR]
        self._tolerance_db = max(balanced, default=0.0)
        return self

    def posteriors(self, rows: Sequence[Mapping[str, Any]], levels: np.ndarray) -> np.ndarray:
        """How probable each verdict is.

        Args:
            rows: rows with anchors.
            levels: of shape `(num_rows, 4, 2)`, see `flawed_levels`.

        Returns:
            float64 of shape `(num_rows, len(VERDICTS))`, rows of which add up to 1.
        """
        possible = possible_verdicts(rows, levels)
        loudness = levels[..., _LOUDNESS]
        heard = ~np.isnan(loudness)
        result = np.full(possible.shape, -np.inf)
        for pattern in np.unique(heard, axis=0):
            # A stem that is silent here says nothing: the others' marginal distribution counts.
            of_pattern = np.flatnonzero((heard == pattern).all(axis=1))
            stems = np.flatnonzero(pattern)
            precision = np.linalg.inv(self._covariance[np.ix_(stems, stems)])
            deviation_db = loudness[np.ix_(of_pattern, stems)] - self._mean_lufs[stems]
            for stem in ADVISED_STEMS:
                for category in Category:
                    log_density = self._log_density(deviation_db, precision, stems, stem, category)
                    with np.errstate(divide="ignore"):
                        log_joint = log_density + np.log(self._shares[category])
                    is_none = category is Category.NO_ERROR
                    place = VERDICTS.index(None if is_none else (stem, category))
                    # Only a stem that can be target counts, also as the one that is balanced.
                    is_target = possible[of_pattern, VERDICTS.index((stem, Category.LOUD))]
                    log_joint[~is_target] = -np.inf
                    result[of_pattern, place] = np.logaddexp(result[of_pattern, place], log_joint)
        return np.exp(result - np.logaddexp.reduce(result, axis=1, keepdims=True))

    def _log_density(
        self,
        deviation_db: np.ndarray,
        precision: np.ndarray,
        stems: np.ndarray,
        stem: str,
        category: Category,
    ) -> np.ndarray:
        """Log density of deviations `(num_rows, num_stems)`, but for a constant.

        The integral over the gain g, uniform in [low, high], of a Gaussian in
        deviation - g * unit vector of the stem: a difference of normal distribution functions.
        """
        from scipy.stats import norm

        low_db, high_db = FLAWS[category].min_gain_db, FLAWS[category].max_gain_db
        if category is Category.NO_ERROR:
            low_db, high_db = -self._tolerance_db, self._tolerance_db
        weighted = deviation_db @ precision
        square = np.einsum("rs,rs->r", weighted, deviation_db)
        index = np.flatnonzero(stems == STEMS.index(stem))
        if low_db == high_db or not len(index):
            return -square / 2
        unit = precision[index[0], index[0]]
        best_db, sd_db = weighted[:, index[0]] / unit, unit**-0.5
        # Differences of logs of tails keep their precision far from the mean.
        sign = np.where(best_db > (low_db + high_db) / 2, 1.0, -1.0)
        near = np.where(sign > 0, high_db - best_db, best_db - low_db) / sd_db
        far = np.where(sign > 0, low_db - best_db, best_db - high_db) / sd_db
        log_near, log_far = norm.logcdf(near), norm.logcdf(far)
        log_share = log_near + np.log1p(-np.exp(np.minimum(log_far - log_near, -1e-12)))
        peak = -square / 2 + unit * best_db**2 / 2
        return peak + log_share + np.log(sd_db * np.sqrt(2 * np.pi) / (high_db - low_db))


class LoudnessRule:
    """Names the stem that lies furthest from its usual loudness against the anchor.

    It calls a mix balanced where that is less than a threshold, which is the one that is right
    (joint) most often on the training rows.
    """

    def fit(
        self, rows: Sequence[Mapping[str, Any]], levels: np.ndarray, balanced_levels: np.ndarray
    ) -> LoudnessRule:
        """Learn the usual balance and the threshold.

        Args:
            rows: training rows with anchors.
            levels: of shape `(num_rows, 4, 2)`, see `flawed_levels`.
            balanced_levels: of the same shape, see `LevelMeter.balanced_levels`.
        """
        loudness = balanced_levels[..., _LOUDNESS]
        self._usual_lu = np.nanmean(loudness[:, :, None] - loudness[:, None, :], axis=0)
        stems, deviation_db = self._furthest(rows, levels)
        truth = [VERDICTS[place] for place in true_verdicts(rows)]
        signs = np.array([_sign(verdict) for verdict in truth])
        is_flaw_right = np.array(
            [
                verdict is not None and verdict[0] == stem
                for verdict, stem in zip(truth, stems, strict=True)
            ]
        ) & (signs == np.sign(deviation_db))
        thresholds = np.arange(0.0, 6.0, 0.1)
        is_called = np.abs(deviation_db) > thresholds[:, None]
        shares = np.where(is_called, is_flaw_right, signs == 0).mean(axis=1)
        self.threshold_db = float(thresholds[np.argmax(shares)])
        return self

    def verdicts(
        self, rows: Sequence[Mapping[str, Any]], levels: np.ndarray
    ) -> list[tuple[str, Category] | None]:
        """Answer rows with one of `VERDICTS` each.

        Args:
            rows: rows with anchors.
            levels: of shape `(num_rows, 4, 2)`, see `flawed_levels`.
        """
        boundary_db = FLAWS[Category.LOUD].max_gain_db
        names = {
            (-1, False): Category.QUIET,
            (-1, True): Category.VERY_QUIET,
            (1, False): Category.LOUD,
            (1, True): Category.VERY_LOUD,
        }
        return [
            (stem, names[int(np.sign(deviation_db)), abs(deviation_db) > boundary_db])
            if abs(deviation_db) > self.threshold_db
            else None
            for stem, deviation_db in zip(*self._furthest(rows, levels), strict=True)
        ]

    def _furthest(
        self, rows: Sequence[Mapping[str, Any]], levels: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """The stem that deviates most in each row, and by how many dB."""
        anchors = [STEMS.index(row["anchor"]) for row in rows]
        loudness = levels[..., _LOUDNESS]
        relative = loudness - loudness[np.arange(len(rows)), anchors][:, None]
        deviation_db = relative - self._usual_lu.T[anchors]
        # Neither a stem that is never advised on nor one that is silent; the anchor is at 0 dB.
        deviation_db[:, [stem not in ADVISED_STEMS for stem in STEMS]] = 0.0
        deviation_db = np.nan_to_num(deviation_db)
        furthest = np.argmax(np.abs(deviation_db), axis=1)
        return [STEMS[place] for place in furthest], deviation_db[np.arange(len(rows)), furthest]


def _sign(verdict: tuple[str, Category] | None) -> int:
    if verdict is None:
        return 0
    return 1 if FLAWS[verdict[1]].min_gain_db > 0 else -1


class LearntListener:
    """A classifier of scikit-learn on levels relative to the anchor's, one for each anchor.

    Args:
        make_classifier: makes a classifier that takes missing values, with `fit` and
            `predict_proba`.
    """

    def __init__(self, make_classifier) -> None:
        self._make_classifier = make_classifier

    def fit(self, rows: Sequence[Mapping[str, Any]], levels: np.ndarray) -> LearntListener:
        """Learn from the flawed mixes of training rows.

        Args:
            rows: training rows with anchors.
            levels: of shape `(num_rows, 4, 2)`, see `flawed_levels`.
        """
        truth = true_verdicts(rows)
        self._by_anchor = {}
        for anchor in ADVISED_STEMS:
            chosen = [index for index, row in enumerate(rows) if row["anchor"] == anchor]
            if chosen:
                features = _relative_levels(levels[chosen], anchor)
                self._by_anchor[anchor] = self._make_classifier().fit(features, truth[chosen])
        return self

    def posteriors(self, rows: Sequence[Mapping[str, Any]], levels: np.ndarray) -> np.ndarray:
        """How probable each verdict is; see `BayesListener.posteriors`."""
        result = np.zeros((len(rows), len(VERDICTS)))
        for anchor, classifier in self._by_anchor.items():
            chosen = [index for index, row in enumerate(rows) if row["anchor"] == anchor]
            if chosen:
                shares = classifier.predict_proba(_relative_levels(levels[chosen], anchor))
                result[np.ix_(chosen, classifier.classes_)] = shares
        result *= possible_verdicts(rows, levels)
        return result / np.maximum(result.sum(axis=1, keepdims=True), 1e-300)


def boosted_listener() -> LearntListener:
    """Gradient boosting on levels; of five settings, the best on generated validation songs."""
    ensemble = import_extra("sklearn.ensemble", "evaluation")
    return LearntListener(
        lambda: ensemble.HistGradientBoostingClassifier(
            max_iter=100,
            learning_rate=0.05,
            max_leaf_nodes=6,
            min_samples_leaf=100,
            random_state=0,
        )
    )


def logistic_listener() -> LearntListener:
    """Logistic regression on levels: what a plain linear model makes of them."""
    import_extra("sklearn", "evaluation")
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return LearntListener(
        lambda: make_pipeline(
            SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression(max_iter=500)
        )
    )


def _relative_levels(levels: np.ndarray, anchor: str) -> np.ndarray:
    """Levels of every other stem against the anchor's: `(num_rows, 6)` in dB."""
    others = [index for index, stem in enumerate(STEMS) if stem != anchor]
    relative = levels[:, others] - levels[:, [STEMS.index(anchor)]]
    return relative.reshape(len(levels), -1)
