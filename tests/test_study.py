"""The listening study: what is played and asked, what is kept, and what comes of it."""

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from mixing_buddy.audio import read_audio
from mixing_buddy.cli import app
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.errors import MixingBuddyError, OutputError, StudyError
from mixing_buddy.judging import items as judging
from mixing_buddy.judging.figures import sum_up
from mixing_buddy.judging.prompts import criteria
from mixing_buddy.judging.ranking import Ranking, distinct_texts
from mixing_buddy.judging.reports import write_judgement
from mixing_buddy.judging.study import Judged
from mixing_buddy.loudness import db_to_gain, loudness_lufs
from mixing_buddy.rendering import render_recipe
from mixing_buddy.rows import open_rows
from mixing_buddy.stems import STEMS
from mixing_buddy.study import analysis, judges, pages
from mixing_buddy.study.abx import binomial_p, level_pair, needed_correct
from mixing_buddy.study.crossed import CrossedBootstrap
from mixing_buddy.study.items import make_study, pick_rows
from mixing_buddy.study.material import AbxPair, Item, Study, read_study
from mixing_buddy.study.ordering import draw_pages, draw_trials
from mixing_buddy.study.questions import default_text, read_consent, read_questionnaire
from mixing_buddy.study.server import serve
from mixing_buddy.study.store import ANNOTATOR, RATER, Store, new_code

SYSTEMS = ("secret-oracle", "secret-guess")
QUESTIONS = (
    "correctness", "actionability", "adherence", "specificity", "naturalness", "creative_value",
    "novelty",
)  # fmt: skip
BACKGROUND = {
    "role": "producer", "experience": "2 to 5", "playback": "monitors", "hearing": "no"
}  # fmt: skip

_MADE: dict[str, Path] = {}


@pytest.fixture
def songs(write_song, tmp_path_factory) -> Path:
    """Two songs of two chunks, with datasets and answers beside them; made once."""
    if "songs" not in _MADE:
        base = tmp_path_factory.mktemp("material")
        for index, song in enumerate(("Amber", "Basalt")):
            write_song(base / "songs" / "train" / song, duration_s=20.0, seed=index)
        (base / "songs" / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
        config = MixingBuddyDatasetConfig(sources=(str(base / "songs"),))
        settings = BuildSettings(modes=("single_mix", "differential"))
        build_dataset(config, base / "dataset", settings)
        for mode in settings.modes:
            rows = open_rows(base / "dataset", mode, "train")
            for system, shift in zip(SYSTEMS, (0, 7), strict=True):
                texts = [rows[(at + shift) % len(rows)]["response"] for at in range(len(rows))]
                lines = zip(rows["uid"][:], texts, strict=True)
                (base / f"{system}-{mode}.jsonl").write_text(
                    "".join(json.dumps({"uid": u, "answer": a}) + "\n" for u, a in lines)
                )
        _MADE["songs"] = base
    return _MADE["songs"]


def make(base, out, mode="single_mix", **settings):
    defaults = {"count": 4, "abx_trials": 5, "split": "train", "mode": mode}
    return make_study(
        [f"{system}={base / f'{system}-{mode}.jsonl'}" for system in SYSTEMS],
        dataset=str(base / "dataset"),
        songs=[str(base / "songs")],
        out=out,
        **{**defaults, **settings},
    )


@pytest.fixture
def study(songs, tmp_path) -> Study:
    """A study with a contact, ready to run."""
    if "study" not in _MADE:
        made = make(songs, songs / "study")
        consent = made.folder / "consent.yaml"
        consent.write_text(consent.read_text().replace('contact: ""', 'contact: "Ada, ada@x.org"'))
        _MADE["study"] = made.folder
    return read_study(Path(shutil.copytree(_MADE["study"], tmp_path / "study")))


def paper_study(folder, num_items=6, systems=SYSTEMS, per_participant=None) -> Study:
    """A study without sounds."""
    items = tuple(
        Item(
            name=f"item-{at:03d}", uid=f"uid-{at}", mode="single_mix", source="s",
            song=f"song {at}", category="quiet", instruction="What is off?",
            clips=(("Mix", f"{at:016x}.flac"),),
            gain_db=0.0, answers={system: f"words of {at}, {len(system)}" for system in systems},
        )
        for at in range(num_items)
    )  # fmt: skip
    sounds = {part: f"{part}.flac" for part in ("a", "b", "x_is_a", "x_is_b")}
    pairs = tuple(
        AbxPair(f"abx-{at}", "uid-0", "bass", level_db, level_db, sounds)
        for at, level_db in enumerate([6.0] * 5 + [3.0] * 5)
    )
    folder.mkdir(exist_ok=True)
    for name in ("questions.yaml", "codes.yaml"):
        (folder / name).write_text(default_text(name))
    size = per_participant or num_items
    return Study(folder, "id", 0, -23.0, size, tuple(systems), items, pairs)


def take_part(study, rate, *, wrong=0, background=BACKGROUND, seconds=20, comment=""):
    """A participant who misses some trials and rates by a function of item, system, question."""
    store = Store(study)
    number = store.join(RATER, new_code(), consent="1.0+x")
    for question, value in background.items():
        store.save_background(number, question, value)
    while (progress := store.progress(number, tuple(background))).phase == "abx":
        x = progress.due["x"]
        is_missed = progress.position < wrong
        store.save_trial(number, progress.position, {"a": "b", "b": "a"}[x] if is_missed else x)
    while (progress := store.progress(number, tuple(background))).phase == "pages":
        for question in QUESTIONS:
            value = rate(progress.due["item"], progress.due["system"], question)
            store.save_answer(number, progress.position, question, str(value))
        store.save_comment(number, progress.position, comment)
        store.finish_page(number, progress.position)
    with store.transaction() as database:
        database.execute(
            "UPDATE pages SET shown_at = '2026-01-01T10:00:00.000+00:00', finished_at = ? "
            "WHERE participant = ?",
            (f"2026-01-01T10:00:{seconds:02d}.000+00:00", number),
        )
    return number


def annotate(study, name, code):
    store = Store(study)
    number = store.join(ANNOTATOR, name)
    while (progress := store.progress(number)).phase == "pages":
        for question in ("audible_cues", "compares_mixes", "within_gain"):
            value = code(progress.due["item"], progress.due["system"], question)
            store.save_answer(number, progress.position, question, value)
        store.finish_page(number, progress.position)


# What is played


def test_every_mix_is_equally_loud_and_nothing_clips(study):
    names = [item.clips[0][1] for item in study.items]
    names += [name for pair in study.abx_pairs for name in pair.sounds.values()]
    for name in names:
        sound, sample_rate = read_audio(study.audio_folder / name)
        assert loudness_lufs(sound, sample_rate) == pytest.approx(study.loudness_lufs, abs=0.05)
        assert np.abs(sound).max() <= db_to_gain(-1.0) + 1e-4


def test_clips_of_one_item_share_one_gain(songs, tmp_path):
    made = make(songs, tmp_path / "study", "differential", count=2)
    rows = open_rows(songs / "dataset", "differential", "train")
    by_uid = dict(zip(rows["uid"][:], range(len(rows)), strict=True))
    for item in made.items:
        heard = render_recipe(rows[by_uid[item.uid]], {"tiny": songs / "songs"})
        mixes = heard[0] + heard[1], heard[2] + heard[3]
        assert [label for label, _ in item.clips] == ["Mix A", "Mix B"]
        for (_, name), mix in zip(item.clips, mixes, strict=True):
            sound, _ = read_audio(made.audio_folder / name)
            np.testing.assert_allclose(sound[0], mix * db_to_gain(item.gain_db), atol=2e-4)


def test_categories_take_turns_and_a_seed_repeats_the_picks(songs, tmp_path):
    rows = [
        {"uid": f"{category}/{song}/{start}/{target}", "category": category, "source": "s",
         "song": song, "start_s": start, "target": target}
        for category in ("quiet", "loud", "no_error")
        for song in "abcd" for start in range(3) for target in ("bass", "vocals")
    ]  # fmt: skip
    picked = pick_rows(rows, 9, seed=1)
    assert Counter(row["category"] for row in picked) == {"quiet": 3, "loud": 3, "no_error": 3}
    assert len({(row["song"], row["start_s"]) for row in picked}) == 9
    assert max(Counter(row["song"] for row in picked).values()) <= 3
    assert picked == pick_rows(rows[::-1], 9, seed=1)
    assert picked != pick_rows(rows, 9, seed=2)
    with pytest.raises(StudyError, match="12 of 13"):
        pick_rows(rows, 13, seed=0)


def test_making_refuses_what_cannot_work(songs, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(OutputError, match="something in this folder"):
        make(songs, tmp_path / "full")
    with pytest.raises(StudyError, match="5 or more"):
        make(songs, tmp_path / "out", abx_trials=4)
    with pytest.raises(StudyError, match="5 items"):
        make(songs, tmp_path / "out", items_per_participant=5, count=4)
    (tmp_path / "other.jsonl").write_text('{"uid": "elsewhere", "answer": "x"}\n')
    with pytest.raises(StudyError, match="no row"):
        make_study(
            [str(tmp_path / "other.jsonl")], dataset=str(songs / "dataset"),
            songs=[str(songs / "songs")], count=1, out=tmp_path / "out", split="train",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


# The listening check


def test_a_pair_differs_in_one_stem_alone():
    stems = np.random.default_rng(0).normal(0, 0.1, (4, 1000)).astype(np.float32)
    row = {
        "target": "drums",
        "stem_gains_db": {"bass": 0.0, "drums": 5.0, "other": 0.0, "vocals": -2.0},
        "needed_change_db": {"bass": 0.0, "drums": -5.0, "other": 0.0, "vocals": 0.0},
    }
    first, second = level_pair(row, stems, -6.0)
    drums = stems[STEMS.index("drums")]
    np.testing.assert_allclose(second - first, (db_to_gain(-6.0) - 1) * drums, atol=1e-6)


def test_guessing_probabilities_are_counted_by_hand():
    assert binomial_p(8, 8) == pytest.approx(1 / 256)
    assert binomial_p(7, 8) == pytest.approx(9 / 256)
    assert binomial_p(0, 8) == pytest.approx(1.0)
    assert [needed_correct(trials) for trials in (4, 5, 8, 10)] == [None, 5, 7, 9]


# Order and labels


def test_order_and_labels_follow_from_the_stored_seed(tmp_path):
    study = paper_study(tmp_path / "study")
    store = Store(study)
    number = store.join(RATER, new_code())
    with store.transaction() as database:
        (seed,) = database.execute("SELECT seed FROM participants").fetchone()
        stored = database.execute("SELECT item, system, label FROM pages ORDER BY position")
        stored = [tuple(row) for row in stored]
        trials = database.execute("SELECT pair, level_db, x FROM abx_trials ORDER BY position")
        trials = [tuple(row) for row in trials]
    assert stored == [dataclasses.astuple(page) for page in draw_pages(study, number, seed)]
    assert trials == [dataclasses.astuple(trial) for trial in draw_trials(study, seed)]
    assert [level_db for _, level_db, _ in trials] == [6.0] * 5 + [3.0] * 5


def test_everybody_rates_every_answer_once_under_letters_that_mean_nothing(tmp_path):
    study = paper_study(tmp_path / "study")
    first = Counter()
    for seed in range(200):
        drawn = draw_pages(study, 0, seed)
        assert len({(page.item, page.system) for page in drawn}) == len(drawn) == 12
        assert [page.label for page in drawn] == ["A", "B"] * 6
        assert all(one.item == two.item for one, two in zip(drawn[::2], drawn[1::2], strict=True))
        first += Counter((page.item, page.system) for page in drawn if page.label == "A")
    # 200 fair tosses each: five standard deviations.
    assert all(abs(first[item.name, SYSTEMS[0]] - 100) < 36 for item in study.items)


def test_parts_of_the_items_are_shared_out_evenly(tmp_path):
    study = paper_study(tmp_path / "study", num_items=10, per_participant=4)
    counts = Counter()
    for number in range(1, 16):
        counts += Counter(page.item for page in draw_pages(study, number, seed=number))
        shares = [counts[item.name] for item in study.items]
        assert max(shares) - min(shares) <= 2
    assert set(shares) == {15 * 4 * 2 // 10}


def test_pages_show_neither_system_nor_truth(study):
    questionnaire = read_questionnaire(study.folder / "questions.yaml")
    hidden = [*SYSTEMS, *(item.uid for item in study.items), *(i.song for i in study.items)]
    hidden += [item.category for item in study.items] + [str(study.folder)]
    for item in study.items:
        for system in study.systems:
            page = pages.rating_html(item, system, "A", 0, 8)
            visible = page.replace(pages._words(item.answers[system]), "")
            assert "System A" in page and not [word for word in hidden if word in visible]
    names = [name for item in study.items for _, name in item.clips]
    names += [name for pair in study.abx_pairs for name in pair.sounds.values()]
    assert sorted(names) == sorted(path.name for path in study.audio_folder.iterdir())
    assert all(re.fullmatch(r"[0-9a-f]{16}\.flac", name) for name in names)
    assert [question.name for question in questionnaire.questions] == list(QUESTIONS)
    assert {len(question.choices) for question in questionnaire.questions} == {5}


def test_words_of_a_system_stay_words():
    item = Item(
        "item", "uid", "single_mix", "s", "song", "quiet", "<b>?", (("Mix", "x.flac"),), 0.0,
        {"one": "<img src=x onerror=alert(1)> & more"},
    )  # fmt: skip
    page = pages.rating_html(item, "one", "A", 0, 1)
    assert "<img" not in page and "&lt;img src=x onerror=alert(1)&gt; &amp; more" in page
    assert "<b>?" not in page and item.name not in page


# Answers


def test_each_answer_is_on_disk_when_saving_returns(tmp_path):
    study = paper_study(tmp_path / "study")
    store = Store(study)
    number = store.join(RATER, new_code())
    for count, question in enumerate(QUESTIONS, start=1):
        store.save_answer(number, 0, question, "4")
        other = sqlite3.connect(store.path)
        assert other.execute("SELECT count(*) FROM answers").fetchone() == (count,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()
    store.save_answer(number, 0, "novelty", "5")
    store.save_answer(number, 0, "novelty", "5")
    with store.transaction() as database:
        row = database.execute("SELECT value, num_changes FROM answers WHERE question = 'novelty'")
        assert tuple(row.fetchone()) == ("5", 1)
    with pytest.raises(StudyError, match="no such page"):
        store.save_answer(number, 99, "novelty", "5")


def test_a_listening_trial_is_answered_once_and_its_result_stored(tmp_path):
    study = paper_study(tmp_path / "study")
    store = Store(study)
    number = store.join(RATER, new_code())
    with store.transaction() as database:
        right = [row["x"] for row in database.execute("SELECT x FROM abx_trials ORDER BY position")]
    for position, x in enumerate(right):
        assert store.progress(number).position == position
        store.save_trial(number, position, x if position != 9 else "ba"["ab".index(x)])
        store.save_trial(number, position, "a")
    assert store.progress(number).phase == "pages"
    found = analysis.read_tables(study).abx.drop(columns="participant").to_dict("records")
    assert found == [
        {"level_db": 6.0, "num_trials": 5, "num_correct": 5, "p_value": pytest.approx(1 / 32)},
        {"level_db": 3.0, "num_trials": 5, "num_correct": 4, "p_value": pytest.approx(6 / 32)},
    ]


def test_who_withdraws_leaves_no_byte_behind(tmp_path):
    study = paper_study(tmp_path / "study")
    stays = take_part(study, lambda *_: 3, comment="kept-remark")
    leaves = take_part(study, lambda *_: 3, comment="deleted-remark")
    Store(study).withdraw(leaves)
    bytes_left = b"".join(path.read_bytes() for path in study.folder.glob("answers.sqlite*"))
    assert b"kept-remark" in bytes_left and b"deleted-remark" not in bytes_left
    assert set(analysis.read_tables(study).answers["participant"]) == {stays}


def test_codes_are_kept_as_digests_and_found_however_typed(tmp_path):
    study = paper_study(tmp_path / "study")
    store, code = Store(study), new_code()
    number = store.join(RATER, code)
    assert store.find(RATER, f" {code.lower().replace('-', ' ')} ") == number
    assert store.find(ANNOTATOR, code) is None
    stored = b"".join(path.read_bytes() for path in study.folder.glob("answers.sqlite*"))
    assert code.encode() not in stored and code.replace("-", "").encode() not in stored


def test_consent_needs_a_contact_and_every_change_shows_in_its_version(tmp_path):
    path = tmp_path / "consent.yaml"
    content = yaml.safe_load(default_text("consent.yaml"))
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(StudyError, match="contact"):
        read_consent(path, duration="long")
    content["contact"] = "Ada"
    path.write_text(yaml.safe_dump(content))
    first = read_consent(path, duration="long")
    content["text"][0]["body"] += " More."
    path.write_text(yaml.safe_dump(content))
    assert read_consent(path, duration="long").version != first.version
    assert any("long" in body for _, body in first.sections)


class Server:
    """`mixing-buddy study run` in a process of its own, with a client."""

    def __init__(self, folder: Path, log: Path) -> None:
        from gradio_client import Client

        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [Path(sys.executable).with_name("mixing-buddy"), "study", "run", folder]
        self.log = log.open("a")
        before = log.read_text().count("Serving")
        self.process = subprocess.Popen(
            [*map(str, command), "--port", str(self.port)],
            stdout=self.log, stderr=self.log, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while log.read_text().count("Serving") == before:
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        self.client = Client(f"http://127.0.0.1:{self.port}/", verbose=False)

    def __call__(self, name: str, *arguments) -> str:
        """Call one function of the pages and return all that it showed."""
        return str(self.client.predict(*arguments, api_name=f"/{name}"))

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def test_a_killed_study_goes_on_where_it_stopped_and_logs_nothing(study, tmp_path):
    pytest.importorskip("gradio")
    import httpx

    log = tmp_path / "log"
    log.touch()
    server = Server(study.folder, log)
    try:
        server("decline")
        assert analysis.read_tables(study).participants.empty
        said = server("agree")
        code = re.search(r"[A-Z2-9]{4}-[A-Z2-9]{4}", said).group()
        server("begin")
        assert "answer all" in server("background", "producer", None, "monitors", "no")
        assert "1 of 10" in server("background", *BACKGROUND.values())
        for trial in range(10):
            said = server("x_is_a", str(trial))
            # A doubled click changes nothing.
            assert server("x_is_b", str(trial)) == said
        assert "Page 1 of 8" in said
        for question in QUESTIONS:
            server(f"rate_{question}", "0", "2")
        assert "Page 2 of 8" in server("finish_page", "0", *["2"] * 7, "a-remark-of-mine")
        assert "answer this too" in server("finish_page", "1", "3", *[None] * 6, "")
        server("rate_novelty", "1", "5")
        address = f"http://127.0.0.1:{server.port}"
        for path in (
            "/study.json", "/answers.sqlite", "/audio/../study.json", "/gradio_api/upload",
            f"/gradio_api/file={study.folder}/study.json", "/gradio_api/runs", "/docs",
        ):  # fmt: skip
            assert httpx.get(address + path).status_code == 404, path
        sound = study.items[0].clips[0][1]
        assert httpx.get(f"{address}/audio/{sound}").status_code == 200
        config = httpx.get(f"{address}/config").text
        assert not any(system in config for system in SYSTEMS)
    finally:
        server.kill()

    server = Server(study.folder, log)
    try:
        assert "no such code" in server("come_back", "AAAA-AAAA")
        said = server("come_back", code)
        assert "Page 2 of 8" in said
        assert not any(system in said for system in SYSTEMS)
        answers = analysis.read_tables(study).answers
        saved = Counter(zip(answers["question"], answers["value"], strict=True))
        assert saved["novelty", "5"] == 1 and saved["correctness", "3"] == 1
        assert saved["comment", "a-remark-of-mine"] == 1
        assert sum(saved.values()) == 7 + 1 + 2
    finally:
        server.kill()
    logged = log.read_text()
    assert not any(word in logged for word in (code, "a-remark", "producer", "GET", "POST"))
    assert all(line.startswith("Serving") for line in logged.splitlines())


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StudyError, match=f"port {port}"):
            serve(paper_study(tmp_path / "study"), RATER, host="127.0.0.1", port=port)


# Analysis


def codes(pairs):
    """Codes of two annotators, given as pairs."""
    return pd.DataFrame(
        [
            {"annotator": who, "item": f"i{at}", "system": "s", "question": "q", "value": value}
            for at, pair in enumerate(pairs)
            for who, value in enumerate(pair)
        ]
    )


def agreement(pairs):
    (row,) = analysis.annotator_agreement(codes(pairs), num_resamples=200, seed=0)
    return row


def test_kappa_is_one_on_equal_codes_and_as_by_hand_on_others():
    assert agreement([("yes", "yes"), ("no", "no")] * 5)["kappa"] == 1.0
    # Alike in 35 of 50; by chance in 0.5 * 0.6 + 0.5 * 0.4 of cases: (0.7 - 0.5) / (1 - 0.5).
    mixed = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    row = agreement(mixed)
    assert (row["kappa"], row["same"], row["count"]) == (pytest.approx(0.4), 0.7, 50)
    assert row["interval"][0] < 0.4 < row["interval"][1]
    assert agreement([("yes", "yes")] * 5)["kappa"] is None
    third = codes([("yes", "no", "yes")] * 3)
    with pytest.raises(StudyError, match="between two"):
        analysis.annotator_agreement(third, num_resamples=200, seed=0)


def ratings(values, question="q", system="s"):
    """Ratings `values[participant][item]`, None where there is none."""
    return pd.DataFrame(
        [
            {"participant": who, "item": f"i{at}", "system": system, "question": question,
             "value": value}
            for who, row in enumerate(values) for at, value in enumerate(row) if value is not None
        ]
    )  # fmt: skip


def test_ordinal_alpha_is_as_by_hand():
    # Pairs 11, 22, 33, 13: values occur n = 3, 2, 3 times. Squared ordinal distances: 1 to 2 and 2
    # to 3 are (5 - 2.5)^2 = 6.25, 1 to 3 is (8 - 3)^2 = 25. Observed: 2 * 25. Expected:
    # 2 * (6 * 6.25 + 6 * 6.25 + 9 * 25) / 7 = 600 / 7. Alpha = 1 - 350 / 600.
    table = ratings([[1, 2, 3, 1], [1, 2, 3, 3]])
    scale = ("1", "2", "3", "4", "5")
    assert analysis.ordinal_alpha(table, scale) == pytest.approx(1 - 350 / 600)
    # An item with one rater says nothing of agreement.
    more = ratings([[1, 2, 3, 1, 5], [1, 2, 3, 3, None]])
    assert analysis.ordinal_alpha(more, scale) == pytest.approx(1 - 350 / 600)
    assert analysis.ordinal_alpha(ratings([[1, 5, 2], [1, 5, 2]]), scale) == pytest.approx(1.0)
    assert analysis.ordinal_alpha(ratings([[3, 3], [3, 3]]), scale) is None
    assert analysis.ordinal_alpha(ratings([[3, 4]]), scale) is None


def test_means_and_differences():
    rng = np.random.default_rng(0)
    values = rng.integers(1, 5, (12, 8)).tolist()
    better = [[value + 1 for value in row] for row in values]
    table = pd.concat([ratings(values, system="a"), ratings(better, system="b")])
    found, differences = analysis.means(table, num_resamples=400, seed=0)
    by_system = {row["system"]: row for row in found}
    assert by_system["a"]["value"] == pytest.approx(np.mean(values))
    assert by_system["a"]["interval"][0] < np.mean(values) < by_system["a"]["interval"][1]
    # The same people and items are drawn for both, so a constant difference is certain.
    assert differences[0]["value"] == pytest.approx(-1.0)
    assert differences[0]["interval"] == pytest.approx((-1.0, -1.0))
    assert analysis.means(table, num_resamples=400, seed=0)[0] == found
    alone, _ = analysis.means(ratings([[1, 5, 3]]), num_resamples=100, seed=0)
    assert alone[0]["interval"] is None


def test_participants_and_items_both_widen_the_interval():
    who, what = np.repeat(np.arange(10), 10), np.tile(np.arange(10), 10)
    bootstrap = CrossedBootstrap(who, what, num_resamples=2000, seed=0)
    everything = np.ones(100, dtype=bool)

    def variance(values):
        return bootstrap.means(values.astype(float), everything).var()

    # A mean over ten values of variance 8.25 varies by 0.825 when these ten are drawn anew.
    assert variance(who) == pytest.approx(0.825, rel=0.1)
    assert variance(who + what) == pytest.approx(2 * 0.825, rel=0.1)


def test_who_is_left_out_and_why(tmp_path):
    study = paper_study(tmp_path / "study")

    def vary(item, system, question):
        return 1 + (int(item[-1]) + QUESTIONS.index(question)) % 5

    counts = take_part(study, vary)
    deaf = take_part(study, vary, wrong=1)
    fast = take_part(study, vary, seconds=9)
    bored = take_part(study, lambda *_: 3)
    gone = Store(study).join(RATER, new_code())
    annotate(study, "annotator 1", lambda *_: "yes")
    reasons = analysis.find_excluded(analysis.read_tables(study))
    assert counts not in reasons and set(reasons) == {deaf, fast, bored, gone}
    assert "6 dB" in reasons[deaf] and "10 s" in reasons[fast]
    assert "same answer" in reasons[bored] and "did not finish" in reasons[gone]


def judgement(folder, study, score):
    """What `mixing-buddy judge` writes, with scores by item, system and criterion."""
    judged = []
    for item in study.items:
        row = {"uid": item.uid, "source": item.source, "song": item.song, "split": "test"}
        one = Judged(judging.Item(row, item.answers, dict.fromkeys(item.answers, True)))
        # One text, one entry: systems with equal answers share it.
        for system, text in item.answers.items():
            one.scores[text] = {name: score(item.name, system, name) for name in criteria()}
        texts = distinct_texts(one.item)
        places = tuple(range(len(texts)))
        best_first = tuple(sorted(places, key=lambda at: texts[at] != item.answers[SYSTEMS[0]]))
        if len(places) > 1:
            one.rankings = [Ranking(places, best_first), Ranking(places[::-1], best_first)]
        judged.append(one)
    run = {"judge": {"model": "some/judge"}, "command": "x", "version": "0"}
    usage = {"input_tokens": 0, "output_tokens": 0}
    write_judgement(folder, judged, {**sum_up(judged, num_resamples=10), **run, "usage": usage})


def test_a_judge_equal_to_people_correlates_fully_and_its_opposite_inversely(tmp_path):
    study = paper_study(tmp_path / "study")
    rng = np.random.default_rng(0)
    value = {(i.name, s): int(rng.integers(1, 6)) for i in study.items for s in SYSTEMS}
    people = pd.DataFrame(
        [{"item": i, "system": s, "question": "correctness", "value": v}
         for (i, s), v in value.items()]
    )  # fmt: skip
    for name, sign in (("same", 1), ("opposite", -1)):
        judgement(tmp_path / name, study, lambda i, s, c, sign=sign: 3 + sign * (value[i, s] - 3))
        judge = judges.read_judge(tmp_path / name, study)
        rows = judges.correlate(judge.scores, people, num_resamples=100, seed=0)
        (row,) = [row for row in rows if row["planned"]]
        assert (row["criterion"], row["count"]) == ("correct_adjustment", 12)
        assert row["spearman"] == pytest.approx(sign) and row["kendall"] == pytest.approx(sign)
        assert row["spearman_interval"] == pytest.approx((sign, sign))


def test_a_judge_of_other_answers_is_refused(tmp_path):
    study = paper_study(tmp_path / "study")
    judgement(tmp_path / "judge", study, lambda *_: 3)
    text = (tmp_path / "judge" / "judgements.jsonl").read_text()
    (tmp_path / "judge" / "judgements.jsonl").write_text(text.replace("words of 3", "others"))
    with pytest.raises(StudyError, match=r"uid-3.*another answer"):
        judges.read_judge(tmp_path / "judge", study)
    with pytest.raises(StudyError, match="mixing-buddy judge"):
        judges.read_judge(tmp_path / "nowhere", study)


def test_the_report_says_what_was_put_in(study, tmp_path):
    def rate(item, system, question):
        high = 4 if system == SYSTEMS[0] else 2
        return high + (int(item[-1]) + QUESTIONS.index(question)) % 2

    for _ in range(3):
        take_part(study, rate, comment="=a remark")
    take_part(study, rate, wrong=3)
    for name in ("annotator 1", "annotator 2"):
        annotate(study, name, lambda item, system, _: "yes" if system == SYSTEMS[0] else "no")
    judgement(tmp_path / "judge", study, lambda item, system, _: 5 if system == SYSTEMS[0] else 1)
    out = tmp_path / "report"
    done = CliRunner().invoke(
        app,
        ["study", "analyse", str(study.folder), "--judge", str(tmp_path / "judge"), "--out",
         str(out), "--resamples", "200"],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0
    figures = json.loads((out / "figures.json").read_text())
    assert (figures["num_joined"], figures["num_analysed"]) == (4, 3)
    assert figures["num_ratings"] == 3 * len(study.items) * 2 * len(QUESTIONS)
    assert figures["alpha"]["novelty"] == pytest.approx(1.0)
    assert [row["kappa"] for row in figures["kappa"]] == [1.0] * 3
    assert all(row["value"] == pytest.approx(-2.0) for row in figures["differences"])
    planned = [row for row in figures["judges"]["some/judge"] if row["planned"]]
    assert {row["question"] for row in planned} == {
        "correctness", "specificity", "within_gain", "mean"
    }  # fmt: skip
    assert all(row["spearman"] > 0.7 for row in planned)
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 4 and not re.search(r'src="(?!data:)', page)
    shown = (out / "report.md").read_text()
    assert "did not hear 6 dB" in shown and "secret-oracle" in shown
    for picture in re.findall(r"\]\((.*?\.png)\)", shown):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    with Store(study).transaction() as database:
        digests = [row[0] for row in database.execute("SELECT code_digest FROM participants")]
    everything = b"".join(path.read_bytes() for path in out.iterdir())
    assert not any(digest.encode() in everything for digest in digests)
    table = pd.read_csv(out / "ratings.csv")
    assert list(table) == [
        "participant", "item", "system", "question", "value", "uid", "song", "category"
    ]  # fmt: skip


def test_a_study_nobody_took_part_in_is_reported_as_such(tmp_path):
    study = paper_study(tmp_path / "study")
    with pytest.raises(StudyError, match="no answers yet"):
        analysis.read_tables(study)
    with pytest.raises(MixingBuddyError, match="no study here"):
        read_study(tmp_path)
