"""What engineers agree on: laws of the estimate, importers, and the real mixes."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixing_buddy.consensus.estimate import (
    ANCHORS,
    MEAN,
    Consensus,
    ConsensusError,
    EngineerBalance,
    StemConsensus,
    TooFewEngineersError,
    consensus,
    consensus_by_song,
    find_outliers,
    reference_balance,
)
from mixing_buddy.consensus.sources import (
    guess_stem,
    read_mix_evaluation,
    read_mixparams,
    read_plain_table,
)
from mixing_buddy.consensus.spread import PAIRS, measure_spread, solve_stem_spreads
from mixing_buddy.consensus.tables import read_consensus, write_consensus
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.stems import STEMS

LEVELS_DB = st.floats(-40.0, 12.0)


def mixes(*rows: dict[str, float], song: str = "Amber") -> list[EngineerBalance]:
    return [EngineerBalance(song, f"engineer {i:02}", row) for i, row in enumerate(rows)]


def songs(levels=LEVELS_DB, min_size: int = 3, max_size: int = 9):
    row = st.fixed_dictionaries({stem: levels for stem in STEMS})
    return st.lists(row, min_size=min_size, max_size=max_size).map(lambda rows: mixes(*rows))


def assert_same(one: Consensus, other: Consensus) -> None:
    assert (one.outliers, list(one.stems)) == (other.outliers, list(other.stems))
    for stem, found in one.stems.items():
        expected = other.stems[stem]
        assert found.num_engineers == expected.num_engineers
        for name in ("gain_db", "low_db", "high_db"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9)


# Levels on a grid: no engineer is so near the limit that rounding decides who is set aside.
GRID_DB = st.integers(-160, 48).map(lambda quarters: quarters / 4)


@given(songs(GRID_DB), st.data(), st.sampled_from(ANCHORS))
def test_a_constant_on_an_engineer_and_the_order_change_nothing(balances, data, anchor):
    moved = [
        EngineerBalance(b.song, b.engineer, {s: v + constant for s, v in b.levels_db.items()})
        for b, constant in zip(
            balances,
            data.draw(st.lists(GRID_DB, min_size=len(balances), max_size=len(balances))),
            strict=True,
        )
    ]
    shuffled = data.draw(st.permutations(moved))
    assert_same(consensus(shuffled, anchor=anchor), consensus(balances, anchor=anchor))


@given(songs(), st.sampled_from(ANCHORS))
def test_range_holds_the_median_and_most_engineers_stay(balances, anchor):
    agreed = consensus(balances, anchor=anchor)
    assert len(agreed.outliers) < len(balances) / 2
    for stem, found in agreed.stems.items():
        assert found.low_db <= found.gain_db <= found.high_db
        assert found.num_engineers == len(balances) - len(agreed.outliers) >= 3
        assert agreed.tolerance_error_db(stem, found.gain_db) == 0.0
        assert agreed.tolerance_error_db(stem, found.high_db + 2.0) == pytest.approx(2.0)
        assert agreed.tolerance_error_db(stem, found.low_db - 0.5) == pytest.approx(0.5)
    if anchor != MEAN:
        assert agreed.stems[anchor] == StemConsensus(0.0, 0.0, 0.0, found.num_engineers)


@given(songs(st.floats(-2.0, 2.0)), st.sampled_from(STEMS), st.sampled_from((-30.0, 30.0)))
def test_an_engineer_30_db_off_changes_nothing(balances, stem, error_db):
    wrong = {**balances[0].levels_db, stem: balances[0].levels_db[stem] + error_db}
    with_wrong = [*balances, EngineerBalance("Amber", "the wrong one", wrong)]
    for anchor in ANCHORS:
        found = consensus(with_wrong, anchor=anchor)
        assert found.outliers == ("the wrong one",)
        assert found.stems == consensus(balances, anchor=anchor).stems


@given(songs(min_size=4), st.floats(-200.0, 200.0))
def test_one_engineer_can_move_a_median_no_further_than_the_others_reach(balances, anything_db):
    others = [b.levels_db["bass"] - b.levels_db["vocals"] for b in balances[1:]]
    strange = {**balances[0].levels_db, "bass": balances[0].levels_db["vocals"] + anything_db}
    agreed = consensus([EngineerBalance("Amber", "strange", strange), *balances[1:]])
    assert min(others) - 1e-9 <= agreed.stems["bass"].gain_db <= max(others) + 1e-9


def test_too_few_engineers_is_an_error_and_a_stem_that_few_used_has_no_range():
    row = {"bass": -3.0, "drums": -1.0, "vocals": 0.0}
    with pytest.raises(TooFewEngineersError, match="2 of 2 engineers"):
        consensus(mixes(row, row))
    with pytest.raises(TooFewEngineersError, match="2 of 3 engineers can be compared by other"):
        consensus(mixes(row, {**row, "other": 1.0}, {**row, "other": 3.0}), anchor="other")
    agreed = consensus(mixes(row, row, {**row, "other": 1.0}))
    assert agreed.stems["other"] == StemConsensus(1.0, None, None, 1)
    with pytest.raises(ConsensusError, match="no range for 'other'"):
        agreed.tolerance_error_db("other", 1.0)
    # The mean is over stems that engineers share, else one extra stem would leave nobody.
    centred = consensus(mixes(row, row, {**row, "other": 1.0}), anchor=MEAN)
    assert centred.stems["bass"].num_engineers == 3


@pytest.mark.parametrize(
    ("balances", "message"),
    [
        ([], "no balances"),
        (mixes({"kick": 0.0}), "'kick' is none of"),
        (mixes({"bass": float("nan")}), "level of bass is nan"),
        (mixes({"bass": 0.0}) * 2, "'engineer 00' stands there twice"),
        (mixes({}) + mixes({}, song="Basalt"), "one song, not of 2"),
    ],
)
def test_what_cannot_be_compared_is_refused(balances, message):
    with pytest.raises(ConsensusError, match=message):
        consensus(balances)
    if balances and len({b.song for b in balances}) == 1:
        with pytest.raises(ConsensusError, match=message):
            consensus_by_song(balances)


@given(songs(), songs(max_size=3), st.sampled_from(ANCHORS))
def test_applying_the_needed_change_gives_the_reference_balance(balances, others, anchor):
    agreed = consensus(balances, anchor=anchor, quantity="level")
    levels_db, gains_db = (b.levels_db for b in others[:2])
    reference = reference_balance(agreed, levels_db)
    needed = reference.needed_from(gains_db)
    # Levels in the changed mix stand to one another as engineers agreed.
    after = {s: levels_db[s] + gains_db[s] + needed.gains_db[s] for s in STEMS}
    for stem in STEMS:
        expected = agreed.stems[stem].gain_db - agreed.stems["bass"].gain_db
        assert after[stem] - after["bass"] == pytest.approx(expected, abs=1e-9)
        low, high = needed.tolerance_low_db[stem], needed.tolerance_high_db[stem]
        assert low <= needed.gains_db[stem] <= high
        # Any change within the tolerance leaves the stem within the engineers' range.
        if anchor != MEAN:
            base = levels_db[anchor] + gains_db[anchor]
            level_db = levels_db[stem] + gains_db[stem] + high - base
            assert agreed.tolerance_error_db(stem, level_db) == pytest.approx(0.0, abs=1e-9)
    free = sum(needed.gains_db.values()) if anchor == MEAN else needed.gains_db[anchor]
    assert free == pytest.approx(0.0, abs=1e-9)


def test_reference_balance_tells_gains_from_levels():
    row = dict(zip(STEMS, (-4.0, -2.0, -3.0, 0.0), strict=True))
    gains = consensus(mixes(row, row, row))
    assert reference_balance(gains).gains_db == row
    assert reference_balance(gains).needed_from(row).gains_db == dict.fromkeys(STEMS, 0.0)
    with pytest.raises(ConsensusError, match="takes no levels_db"):
        reference_balance(gains, row)
    levels = consensus(mixes(row, row, row), quantity="level")
    with pytest.raises(ConsensusError, match="needs the stems' levels_db"):
        reference_balance(levels)
    with pytest.raises(ConsensusError, match="no level of drums"):
        reference_balance(levels, {"bass": 0.0, "vocals": 0.0})
    without = consensus(mixes(*[{"bass": -4.0, "vocals": 0.0}] * 3))
    assert reference_balance(without).gains_db["drums"] == 0.0
    assert reference_balance(without).tolerance_low_db["drums"] is None
    assert pickle.loads(pickle.dumps(reference_balance(gains))) == reference_balance(gains)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1).filter(
    lambda name: name.strip() == name
)


@given(
    st.lists(st.tuples(NAMES, songs()), min_size=1, max_size=3, unique_by=lambda pair: pair[0]),
    st.sampled_from(("csv", "parquet")),
)
def test_plain_table_and_consensus_table_read_back(tmp_path_factory, groups, suffix):
    folder = tmp_path_factory.mktemp("tables")
    balances = [
        EngineerBalance(name, b.engineer, b.levels_db) for name, group in groups for b in group
    ]
    table = pd.DataFrame(
        [(b.song, b.engineer, s, v) for b in balances for s, v in b.levels_db.items()],
        columns=["song", "engineer", "stem", "gain_db"],
    )
    file = folder / f"gains.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    source = read_plain_table(file)
    assert source.quantity == "gain"
    assert source.balances == tuple(sorted(balances, key=lambda b: (b.song, b.engineer)))

    agreed = [one for a in ("vocals", MEAN) for one in consensus_by_song(balances, anchor=a)[0]]
    write_consensus(agreed, folder / f"consensus.{suffix}")
    back = read_consensus(folder / f"consensus.{suffix}")
    assert back == {(one.song, one.anchor): one for one in agreed}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("low_db", "low", "line 2: low_db is 'low'"),
        ("gain_db", "", "line 2: gain_db is ''"),
        ("stem", "kick", "'kick' is no stem"),
        ("anchor", "kick", "unknown anchor 'kick'"),
        ("outliers", "x", "no JSON list: 'x'"),
    ],
)
def test_a_faulty_consensus_table_is_refused(tmp_path, column, value, message):
    row = {"bass": -4.0, "vocals": 0.0}
    file = tmp_path / "consensus.csv"
    write_consensus([consensus(mixes(row, row, row))], file)
    table = pd.read_csv(file, dtype=str)
    table.loc[0, column] = value
    table.to_csv(file, index=False)
    with pytest.raises(ConsensusError, match=message):
        read_consensus(file)


def plain(tmp_path, *rows: str, header: str = "song,engineer,stem,gain_db"):
    file = tmp_path / "gains.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["A,x,bass,1", "A,x,bass,2"], "line 3: a second gain of bass by 'x' in 'A'"),
        (["A,x,bass,inf"], "line 2: gain_db is 'inf', not a finite number"),
        (['A,x,bass,"1,5"'], "gain_db is '1,5'"),
        (["A,x,bass,"], "gain_db is ''"),
        (["A,,bass,1"], "line 2: engineer is empty"),
        (["A,x,Lead Vox,1"], '--map "Lead Vox=vocals"'),
        ([], "there are no rows"),
    ],
)
def test_a_faulty_table_says_what_is_wrong_and_where(tmp_path, rows, message):
    with pytest.raises(ConsensusError, match=message):
        read_plain_table(plain(tmp_path, *rows))


def test_missing_columns_and_files_and_names_of_stems(tmp_path):
    with pytest.raises(
        ConsensusError, match=r"no column gain_db; it has song, engineer, stem, gain"
    ):
        read_plain_table(plain(tmp_path, "A,x,bass,1", header="song,engineer,stem,gain"))
    with pytest.raises(ConsensusError, match="no such CSV or Parquet file"):
        read_plain_table(tmp_path / "nothing.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConsensusError, match="can't be read as a table"):
        read_plain_table(tmp_path / "broken.parquet")
    file = plain(tmp_path, "A,x,Vox,1", "A,x,Drums,2")
    levels_db = read_plain_table(file, stem_names={"vox": "vocals"}).balances[0].levels_db
    assert levels_db == {"vocals": 1.0, "drums": 2.0}
    with pytest.raises(ConsensusError, match="'voice' is none of"):
        read_plain_table(file, stem_names={"Vox": "voice"})


def test_guesses():
    guesses = {"Bass drum": "drums", "BackVox": "vocals", "Sub": "bass", "Rhodes": "other"}
    assert {name: guess_stem(name) for name in guesses} == guesses
    assert guess_stem("drms") == "drums"


def mixparams_row(track: str, kind: str, lufs: float, gain: object, mix: str = "M1") -> dict:
    # A gain inside a plug-in must not be taken for the fader.
    parameters = {"pan": [0], "reverb": [{"gain": -40.0}], "eq": [{"value": {"gain": 9.0}}]}
    if gain is not None:
        parameters["gain"] = gain
    return {
        "mix_name": mix, "song_name": "Amber", "artist_name": "Nobody", "genre": "ROCK",
        "track_name": track, "track_type": "AUDIO", "track_instrument_subtype": "",
        "track_instrument_type": kind, "channel_mode": "MONO", "track_audio_path": f"{track}.wav",
        "track_audio_sample_rate": 44_100, "track_audio_lufs": lufs,
        "parameters": json.dumps(parameters),
    }  # fmt: skip


def test_mixparams_sums_tracks_in_power_over_all_splits(tmp_path):
    rows = [
        mixparams_row("Kick", "DRUMS", -20.0, -4.0),
        mixparams_row("Snare", "DRUMS", -24.0, 0),
        mixparams_row("Vox", "VOCALS", -18.0, 2.5),
        mixparams_row("Guitar", "GUITARS", -20.0, -60.0),
        mixparams_row("Keys", "KEYS", -20.0, -5.0),
    ]
    (tmp_path / "data").mkdir()
    pd.DataFrame(rows[:2]).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    pd.DataFrame(rows[2:]).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    source = read_mixparams(tmp_path)
    assert source.quantity == "level"
    (balance,) = source.balances
    assert (balance.song, balance.engineer) == ("Amber", "M1")
    # Two tracks of -24 LUFS give 3 dB more.
    expected = {"drums": -24.0 + 10 * np.log10(2), "vocals": -15.5, "other": -25.0}
    assert balance.levels_db == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (mixparams_row("A", "DRUMS", -20.0, None), "no number 'gain' at their top level: pan, rev"),
        (mixparams_row("A", "DRUMS", -20.0, "loud"), "no number 'gain'"),
        (mixparams_row("A", "DRUMS", -20.0, float("nan")), "gain is nan"),
        (mixparams_row("A", "DRUMS", float("nan"), 0.0), "track_audio_lufs is 'nan'"),
        (mixparams_row("A", "STRINGS", -20.0, 0.0), '--map "STRINGS=other"'),
        (mixparams_row("A", "DRUMS", -20.0, 0.0) | {"parameters": "{"}, "parameters are no JSON"),
    ],
)
def test_mixparams_faults(tmp_path, row, message):
    file = tmp_path / "rows.parquet"
    pd.DataFrame([row]).to_parquet(file)
    with pytest.raises(ConsensusError, match=message):
        read_mixparams(file)


def test_a_track_twice_counts_once_if_the_rows_agree(tmp_path):
    row = mixparams_row("Kick", "DRUMS", -20.0, 0.0)
    file = tmp_path / "rows.parquet"
    pd.DataFrame([row, row, row | {"track_type": "AUX", "track_audio_lufs": None}]).to_parquet(file)
    source = read_mixparams(file)
    assert source.balances[0].levels_db == pytest.approx({"drums": -20.0})
    assert source.notes == (
        "1 channels without audio of their own left out",
        "1 rows that repeat another counted once",
    )
    pd.DataFrame([row, mixparams_row("Kick", "DRUMS", -20.0, 1.0)]).to_parquet(file)
    with pytest.raises(ConsensusError, match="'Kick' of mix 'M1' of 'Amber' stands there twice"):
        read_mixparams(file)


def test_stem_spreads_explain_the_pairs():
    own = dict(zip(STEMS, (1.0, 2.0, 3.0, 0.0), strict=True))
    pairs = [np.hypot(own[first], own[second]) for first, second in PAIRS]
    assert solve_stem_spreads(pairs) == pytest.approx(list(own.values()), abs=1e-6)


def test_spread_finds_what_engineers_were_drawn_with_whatever_the_song():
    rng = np.random.default_rng(1)
    own = dict(zip(STEMS, (1.0, 1.5, 2.0, 2.5), strict=True))
    balances = []
    for index in range(120):
        arrangement = rng.normal(0.0, 10.0, len(STEMS))
        balances += mixes(
            *(
                {s: rng.normal(arrangement[i], own[s]) + level for i, s in enumerate(STEMS)}
                for level in rng.normal(0.0, 6.0, 6)
            ),
            song=f"song {index:03}",
        )
    spread = measure_spread(balances)
    assert (spread.num_songs, spread.num_mixes) == (120, 720)
    for stem in STEMS:
        for found in (spread.stem_sd_db[stem], spread.stem_robust_db[stem]):
            assert found.value == pytest.approx(own[stem], abs=0.35)
            assert found.low <= found.value <= found.high
    assert spread.mean_sd_db.value == pytest.approx(np.sqrt(13.5 / 4), rel=0.05)
    assert spread == measure_spread(balances)
    with pytest.raises(ConsensusError, match="No song has two mixes"):
        measure_spread(balances[:1])


def test_real_mixes(shared_dir):
    source = read_mix_evaluation(shared_dir / "data" / "mix-evaluation")
    assert len(source.balances) == 90
    assert len({balance.song for balance in source.balances}) == 13
    found, without = consensus_by_song(source.balances, quantity=source.quantity)
    assert len(found) == 13
    assert not without
    assert sum(len(one.outliers) for one in found) == 9
    # In nearly every song engineers put drums and bass below the vocals.
    assert sum(one.stems["bass"].gain_db < 0 for one in found) == 13
    assert sum(one.stems["drums"].gain_db < 0 for one in found) == 12
    spread = measure_spread(source.balances)
    assert spread.mean_sd_db.value == pytest.approx(2.87, abs=0.01)
    # Independent stems explain the six differences to 0.1 dB.
    for (first, second), pair in spread.pairs.items():
        implied = np.hypot(spread.stem_sd_db[first].value, spread.stem_sd_db[second].value)
        assert implied == pytest.approx(pair.sd_db.value, abs=0.1)


def test_real_mixes_are_the_same_through_mixparams_columns(shared_dir, tmp_path):
    folder = shared_dir / "data" / "mix-evaluation"
    table = pd.read_csv(folder / "tracks.csv", keep_default_na=False)
    table = table[table["track_type"] == "AUDIO"]
    pd.DataFrame(
        {
            "mix_name": table["mix"],
            "song_name": table["song"],
            "track_name": table["track"],
            "track_type": table["track_type"],
            "track_instrument_type": table["instrument"],
            "track_audio_lufs": table["raw_track_lufs"].astype(float),
            "parameters": [json.dumps({"gain": float(gain)}) for gain in table["fader_gain_db"]],
        }
    ).to_parquet(tmp_path / "mixparams.parquet")
    assert read_mixparams(tmp_path).balances == read_mix_evaluation(folder).balances


def run(*arguments: object):
    import typer

    from mixing_buddy.cli.consensus import consensus as command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_command_writes_tables_and_a_report_with_plots(tmp_path):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    rows = [
        f"{song},{engineer},{stem},{rng.normal(0, 2):.2f}"
        for song in ("Amber", "Basalt")
        for engineer in "abcde"
        for stem in ("Bass", "drums", "Rest", "vocals")
    ]
    file = plain(tmp_path, *rows, "Coral,a,bass,0")
    out = tmp_path / "out"
    done = run(file, "--map", "Rest=other", "--anchor", "drums", "--anchor", "mean", "--out", out)
    assert done.exit_code == 0, done.output
    assert "2 songs with a consensus" in done.output
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "No consensus: Coral: 0 of 1 engineers" in report
    for name in ("levels-drums", "levels-mean", "spread-pairs", "spread-stems"):
        assert f"({name}.png)" in report
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    tables = [read_consensus(out / f"consensus.{suffix}") for suffix in ("csv", "parquet")]
    assert tables[0] == tables[1]
    assert set(tables[0]) == {(s, a) for s in ("Amber", "Basalt") for a in ("drums", "mean")}


def test_command_leaves_nothing_behind_when_it_fails(tmp_path):
    file = plain(tmp_path, "Coral,a,bass,0")
    done = run(file, "--out", tmp_path / "out")
    assert isinstance(done.exception, MixingBuddyError)
    assert not (tmp_path / "out").exists()
    assert isinstance(run(file, "--map", "vocals").exception, MixingBuddyError)


def test_most_distant_engineers_go_first():
    row = dict.fromkeys(STEMS, 0.0)
    balances = mixes(row, row, {**row, "bass": 20.0}, {**row, "drums": -40.0})
    # Of four only one may go.
    assert find_outliers(balances) == ("engineer 03",)
