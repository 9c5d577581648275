"""Calibration: what is certain, fair or foolish scores as it must."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.calibration import (
    abstain,
    calibrate,
    judge,
    posterior_array,
    reliability,
    risk_coverage,
)
from mixing_buddy.evaluation.verdicts import VERDICTS
from mixing_buddy.flaws import FLAWS, Category


def _row(place: int) -> dict:
    verdict = VERDICTS[place]
    stem, category = verdict or ("bass", Category.NO_ERROR)
    return {"category": category, "target": stem, "direction": FLAWS[category].direction}


def _fair(num_rows: int, num_songs: int = 40):
    """Rows whose truth is drawn from the posteriors that are given for them."""
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.full(len(VERDICTS), 0.3), num_rows)
    rows = [_row(rng.choice(len(VERDICTS), p=each)) for each in posteriors]
    return rows, posteriors, [str(number % num_songs) for number in range(num_rows)]


def test_a_fair_posterior_is_calibrated_and_an_overconfident_one_is_not():
    rows, posteriors, songs = _fair(6000)
    fair = calibrate(rows, posteriors, songs, num_resamples=200)
    for event in ("joint", "balanced"):
        # What 600 rows a bin scatter by chance.
        assert 0.2 < fair[event]["error"] / fair[event]["chance"] < 2
        assert fair[event]["error"] < 0.03
    low, high = fair["joint"]["interval"]
    assert 0 <= low <= high < 0.05
    sharp = posteriors**4 / (posteriors**4).sum(axis=1, keepdims=True)
    sure = calibrate(rows, sharp, songs, num_resamples=200)
    assert sure["joint"]["error"] > max(0.1, 5 * sure["joint"]["chance"])
    assert sure["joint"]["mean"] > sure["joint"]["share"]


def test_certainty_about_the_truth_is_perfect():
    rows = [_row(place) for place in range(len(VERDICTS))]
    # Sums of a posterior may pass 1 by a rounding.
    sure = np.eye(len(VERDICTS)) * (1 + 1e-12)
    found = calibrate(rows, sure, ["a", "b"] * 6 + ["a"], num_resamples=20)
    assert found["joint"]["error"] == found["joint"]["chance"] == 0.0
    assert found["risk_coverage"]["area"] == 0.0
    assert [each["coverage"] for each in found["abstention"]] == [1.0] * 6


def test_bins_hold_equally_many_rows_and_equal_values_share_one():
    values = np.linspace(0, 1, 100)
    bootstrap = SongBootstrap(range(100), num_resamples=10)
    bins = reliability(values, values > 0.5, bootstrap)["bins"]
    assert [each["num_rows"] for each in bins] == [10] * 10
    alike = reliability(np.full(100, 0.5), values > 0.5, bootstrap)
    assert len(alike["bins"]) == 1
    assert alike["error"] == pytest.approx(0.0)


def test_sizes_of_one_direction_add_up():
    named = {"bass quiet": 0.3, "bass very_quiet": 0.25, "drums loud": 0.35, "balanced": 0.1}
    row = {"category": "very_quiet", "target": "bass", "direction": "raise"}
    confidences, rights = judge([row], posterior_array([named]))
    assert confidences == pytest.approx([0.55])
    assert rights.all()


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=60
    )
)
@settings(max_examples=100)
def test_the_curve_ends_at_the_plain_risk_and_its_area_has_bounds(answers):
    confidences, rights = (np.array(each) for each in zip(*answers, strict=True))
    curve = risk_coverage(confidences, rights)
    coverage, risk = curve["points"][-1]
    assert coverage == 1.0
    assert risk == pytest.approx(1 - rights.mean())
    coverages = [point[0] for point in curve["points"]]
    assert coverages == sorted(set(coverages))
    assert curve["best_area"] <= curve["area"] + 1e-9
    # The order of equal rows must not matter.
    turned = risk_coverage(confidences[::-1], rights[::-1])
    assert turned["area"] == pytest.approx(curve["area"])


def test_confidence_that_says_nothing_gains_nothing():
    rights = np.random.default_rng(0).random(500) < 0.6
    curve = risk_coverage(np.full(500, 0.8), rights)
    assert curve["area"] == pytest.approx(curve["random_area"])
    assert all(risk == pytest.approx(1 - rights.mean()) for _, risk in curve["points"])


def test_abstaining_keeps_errors_near_what_was_allowed():
    rows, posteriors, songs = _fair(6000)
    confidences, rights = judge(rows, posteriors)
    table = abstain(confidences, rights, songs, SongBootstrap(songs, num_resamples=200))
    coverages = [each["coverage"] for each in table]
    assert coverages == sorted(coverages)
    for each in table[2:]:
        assert each["error"] == pytest.approx(each["target_error"], abs=0.03)
    assert abstain(confidences, rights, ["one"] * 6000, SongBootstrap(["one"] * 6000)) == []
