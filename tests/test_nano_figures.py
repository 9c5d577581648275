"""The tables of the shipped nano's figures, and their places in the documents."""

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import nano_figures  # noqa: E402


@pytest.fixture
def reports():
    """Reports as `mixing-buddy evaluate` writes them, as far as the tables read them."""
    found = {}
    for mode, rows in nano_figures.ROWS.items():
        for dataset, limit in rows.items():
            found[mode, dataset] = {
                "num_rows": limit,
                "num_songs": 1 if dataset == "cc0-songs" else 100,
                "joint": 0.7654,
                "stem": 0.8,
                "direction": 0.9,
                "magnitude": 0.5,
                "error_db": 0.444,
                "changed_error_db": 0.888,
                "error_detection": {"f1": 0.25},
                "by": {"category": {"quiet": {"joint": 0.125}}},
                "intervals": {"joint": [0.7, 0.8]},
                "baselines": {"ceiling": {"joint": 0.9}} if mode != "differential" else {},
            }
    return found


def test_figures_stand_in_the_tables_rounded_and_what_is_missing_as_a_dash(reports):
    table = nano_figures.main_table(reports)
    first = "| single mix, generated songs | 3000, 100 | **76.5** (70.0 to 80.0) | 90.0 | - | - |"
    assert first in table
    # One song has no interval.
    assert "| stems, *Rubidium*, a real song | 600, 1 | **76.5** | 90.0 | - | - |" in table
    assert "off by 0.89 dB on average, all stems by 0.44 dB" in table
    by_category = nano_figures.category_table(reports)
    assert "| joint, quiet | 12.5 | 12.5 | 12.5 |" in by_category
    assert "| joint, loud | - | - | - |" in by_category


@pytest.mark.parametrize("document", nano_figures.DOCUMENTS)
def test_every_document_has_the_places_and_one_set_of_figures(document, tmp_path, reports):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    shared = (REPOSITORY / nano_figures.DOCUMENTS[0]).read_text(encoding="utf-8")
    start, end = "<!-- figures: main -->", "<!-- end: main -->"
    assert (
        text[text.index(start) : text.index(end)] == shared[shared.index(start) : shared.index(end)]
    )
    copy = tmp_path / "copy.md"
    copy.write_text(text, encoding="utf-8")
    tables = {"main": nano_figures.main_table(reports), "by category": "| none |"}
    nano_figures.write(tables, copy)
    written = copy.read_text(encoding="utf-8")
    assert tables["main"] in written
    assert written.split(start)[0] == text.split(start)[0]
    assert ("| none |" in written) == ("<!-- figures: by category -->" in text)
