"""Hand-written answers in many wordings, and what the parser takes from each."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mixing_buddy.advice import parse_advice

PATH = Path(__file__).parent / "data" / "advice_answers.yaml"
GROUPS = yaml.safe_load(PATH.read_text("utf-8"))
ANSWERS = [answer for answers in GROUPS.values() for answer in answers]


def _read(text: str) -> list:
    advice = parse_advice(text)
    return [advice.stem, advice.direction and advice.direction.value, advice.min_db, advice.max_db]


def test_there_are_enough_of_them():
    assert len({text for text, *_ in ANSWERS}) == len(ANSWERS) >= 220


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[0][:40])
def test_an_answer_is_read_as_a_careful_reader_does(answer):
    text, *expected = answer
    assert _read(text) == expected


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[0][:40])
def test_wrapping_changes_nothing(answer):
    text, *expected = answer
    assert _read(f"  {text}\n\n") == expected
    assert _read(f"Hello!\n{text}\nHave fun.") == expected
