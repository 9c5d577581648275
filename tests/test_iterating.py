"""Following advice and listening again, and what is told of it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixing_buddy.advice import Advice
from mixing_buddy.advising.combining import SongAdvice, WindowAdvice
from mixing_buddy.advising.confidence import UNSURE_BELOW
from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.iterating import (
    BALANCED_PRIOR,
    Outcome,
    _chances_given,
    iterate,
)
from mixing_buddy.advising.page import write_page
from mixing_buddy.advising.reporting import describe, headline, spans, timeline, to_json
from mixing_buddy.cli import app
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import STEMS

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rubidium"


def oracle(truth_db, *, tolerance_db=1.5):
    """A listener that knows where the faders belong."""

    def listen(gains_db):
        off = {stem: gains_db[stem] - truth_db.get(stem, 0.0) for stem in STEMS}
        stem = max(off, key=lambda name: abs(off[name]))
        far_db = abs(off[stem])
        if far_db <= tolerance_db:
            chance = {"confidence": 0.9, "balanced_probability": 0.9}
            return SongAdvice("", direction=Direction.NONE, **chance)
        chance = {"confidence": 0.9, "balanced_probability": 0.01 / far_db}
        direction = Direction.LOWER if off[stem] > 0 else Direction.RAISE
        low, high = (3.0, 6.0) if far_db < 6.0 else (6.0, 12.0)
        return SongAdvice("", stem, direction, low, high, **chance)

    return listen


@pytest.mark.parametrize("flaw_db", [-12.0, -9.0, -4.5, -3.0, 3.0, 4.5, 6.5, 11.0])
def test_who_hears_rightly_brings_every_flaw_back(flaw_db):
    found = iterate(oracle({}), max_changes=6, faders_db={"vocals": flaw_db})
    assert found.outcome is Outcome.BALANCED
    assert found.best == len(found.steps) - 1
    assert abs(found.gains_db["vocals"]) <= 2.0
    assert all(found.gains_db[stem] == 0.0 for stem in STEMS if stem != "vocals")


def test_a_balanced_song_is_left_alone():
    found = iterate(oracle({}), max_changes=3)
    assert (len(found.steps), found.outcome) == (1, Outcome.BALANCED)
    assert set(found.gains_db.values()) == {0.0}


def always(stem, direction, low, high, chances):
    told = iter(chances)
    return lambda _: SongAdvice(
        "", stem, direction, low, high, confidence=0.5, balanced_probability=next(told)
    )


def test_it_stops_where_it_gets_no_better_and_keeps_the_best():
    listen = always("bass", Direction.RAISE, 3.0, 4.0, [0.01, 0.05, 0.03, 0.02, 0.01])
    found = iterate(listen, max_changes=9)
    assert found.outcome is Outcome.NO_BETTER
    assert found.best == 1
    assert found.gains_db["bass"] == 3.5


def test_no_fader_goes_beyond_what_the_model_knows():
    found = iterate(always("bass", Direction.RAISE, 6.0, 12.0, [0.01, 0.02, 0.03]), max_changes=9)
    assert found.outcome is Outcome.TOO_FAR
    assert max(step.gains_db["bass"] for step in found.steps) == 12.0


def test_to_and_fro_halves_its_moves_and_ends():
    turns = iter([Direction.RAISE, Direction.LOWER] * 9)
    found = iterate(
        lambda _: SongAdvice(
            "", "drums", next(turns), 3.0, 6.0, confidence=0.5, balanced_probability=0.1
        ),
        max_changes=9,
    )
    moves = [step.change_db["drums"] for step in found.steps if step.change_db]
    assert moves[:2] == [4.5, -2.25]
    assert found.outcome in (Outcome.CYCLE, Outcome.NO_BETTER)


def test_limit_and_doubt_end_it():
    listen = always("bass", Direction.RAISE, 1.0, 2.0, [0.01, 0.02, 0.03, 0.04])
    found = iterate(listen, max_changes=2)
    assert (found.outcome, len(found.steps)) == (Outcome.LIMIT, 3)
    listen = always("bass", Direction.RAISE, 1.0, 2.0, [0.1])
    found = iterate(listen, max_changes=2, abstain_below=0.6)
    assert (found.outcome, len(found.steps)) == (Outcome.UNSURE, 1)
    assert json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("confidence", "balanced", "moves_again"),
    [
        (0.9, 0.001, True),  # a second flaw, surely heard
        (0.9, 0.05, False),  # less sure than the first move was
        (0.5, 0.2, False),
    ],
)
def test_what_was_moved_rightly_is_not_moved_again(confidence, balanced, moves_again):
    told = [
        SongAdvice(
            "", "vocals", Direction.RAISE, 6.0, 12.0, confidence=0.9, balanced_probability=0.05
        ),
        SongAdvice(
            "",
            "bass",
            Direction.LOWER,
            3.0,
            6.0,
            confidence=confidence,
            balanced_probability=balanced,
        ),
        SongAdvice("", direction=Direction.NONE, confidence=0.9, balanced_probability=0.9),
    ]
    turns = iter(told)
    found = iterate(lambda _: next(turns), max_changes=4)
    assert found.gains_db["vocals"] == 9.0
    assert found.outcome is (Outcome.BALANCED if moves_again else Outcome.SETTLED)
    assert found.gains_db["bass"] == (-4.5 if moves_again else 0.0)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_exchanging_the_prior_keeps_chances_and_changes_nothing_by_the_models_own(
    balanced, share, prior
):
    advice = SongAdvice("", confidence=(1.0 - balanced) * share, balanced_probability=balanced)
    chances = _chances_given(advice, prior)
    assert all(0.0 <= chance <= 1.0 for chance in chances) and sum(chances) <= 1.0 + 1e-9
    assert _chances_given(advice, BALANCED_PRIOR) == pytest.approx(
        (advice.balanced_probability, advice.confidence)
    )
    surer = _chances_given(advice, min(1.0, prior + 0.1))
    if 0.0 < balanced < 1.0:
        assert surer[0] >= chances[0] - 1e-9


def song_advice(**fields):
    def window(start_s, anchor, stem, direction):
        advice = Advice("", stem, direction, *((6.0, 12.0) if stem else (None, None)))
        return WindowAdvice(start_s, 10.0, anchor, ("bass", "drums", "vocals"), advice)

    windows = (
        window(0.0, "drums", "vocals", Direction.RAISE),
        window(0.0, "bass", "vocals", Direction.RAISE),
        window(10.0, "drums", "vocals", Direction.RAISE),
        window(20.0, "drums", None, Direction.NONE),
    )
    told = {"confidence": 0.7, "balanced_probability": 0.1, "num_agreeing": 3, **fields}
    return SongAdvice("", "vocals", Direction.RAISE, 6.0, 12.0, windows=windows, **told)


def test_the_report_says_what_where_and_how_sure():
    advice = song_advice()
    assert headline(advice) == "Raise the vocals by 6 to 12 dB; start at +9 dB."
    text = "\n".join(map(str, describe(advice)))
    for part in ("70%", "3 of 4 answers", "0:00-0:20", "2 of 3", "balanced at 0:20-0:30"):
        assert part in text
    assert "Taken as right in turn: bass, drums." in text
    assert [each.agrees for each in timeline(advice)] == [True, True, False]
    assert spans(timeline(advice)) == "0:00-0:30"


def test_every_sentence_with_a_figure_says_where_it_is_from():
    advices = [song_advice(), song_advice(anchor="drums")]
    for each in [s for advice in advices for s in describe(advice, abstain_below=0.8)]:
        assert each.source in ("measured", "inferred") or not any(map(str.isdigit, each.text))


def test_who_is_too_unsure_says_nothing():
    sentences = describe(song_advice(), abstain_below=0.8)
    assert sentences[0].text.startswith("No advice")
    assert "80%" in sentences[1].text
    told = to_json(open_song(EXAMPLE), song_advice(), abstain_below=0.8)
    assert told["abstained"] is True
    assert told["change_db"] == {}


def test_what_is_more_likely_wrong_than_right_is_told_as_a_guess():
    move = headline(song_advice(confidence=UNSURE_BELOW))
    assert move.startswith("Raise the vocals")
    unsure = song_advice(confidence=UNSURE_BELOW - 0.01)
    assert headline(unsure) == f"Not sure. Best guess: {move}"
    assert headline(unsure, abstained=True).startswith("No advice")
    # Where nobody asked how sure the model is, nothing is said of it.
    assert headline(song_advice(confidence=None)) == move


def test_balanced_songs_are_called_balanced():
    advice = song_advice(confidence=0.9)
    fields = {"windows": advice.windows[3:], "confidence": 0.9}
    balanced = SongAdvice("", direction=Direction.NONE, num_agreeing=1, **fields)
    assert "balance is right" in headline(balanced)
    disputed = SongAdvice("", direction=Direction.NONE, num_agreeing=0, **fields)
    assert "disagree" in headline(disputed)


def run(*arguments, song=EXAMPLE):
    return CliRunner().invoke(app, ["advise", str(song), *map(str, arguments)])


def test_one_command_iterates_applies_and_writes_a_page(tmp_path):
    done = run(
        *("--fader", "drums=9", "--iterate", 1, "--json"),
        *("--apply", tmp_path / "out", "--html", tmp_path / "page.html"),
        song=EXAMPLE.with_name("generated"),
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["schema"], told["version"]) == ("mixing-buddy/advice", 1)
    assert 0.0 < told["confidence"] <= 1.0
    assert len(told["iteration"]["steps"]) == 2
    assert {track["stem"] for track in told["song"]["tracks"]} == set(STEMS)
    assert told["levels"][0]["lufs"]["mix"] < 0.0
    gains_db = told["iteration"]["steps"][told["iteration"]["best"]]["gains_db"]
    common_db = told["applied"]["common_gain_db"]
    assert told["applied"]["gains_db"]["drums.flac"] == pytest.approx(gains_db["drums"] + common_db)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "mix.flac",
        *(f"{stem}.flac" for stem in STEMS),
    }
    page = (tmp_path / "page.html").read_text()
    assert "Lower the drums" in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 4_000_000


def test_doubt_has_an_exit_code_of_its_own(tmp_path):
    done = run("--abstain-below", 1.0, "--apply", tmp_path / "out", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["abstained"] is True
    assert not (tmp_path / "out").exists()


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="can't be written"):
        write_page(open_song(EXAMPLE), song_advice(), tmp_path / "file" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_compare_prints_what_was_measured():
    done = CliRunner().invoke(app, ["compare", str(EXAMPLE), str(EXAMPLE), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["source"] == "measured"
    assert {each["needed_db"] for each in told["stems"]} <= {0.0, None}
