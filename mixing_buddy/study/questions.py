"""What is asked: consent, questions and codes, read from a study's own copies of the texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from mixing_buddy.errors import StudyError

#: Files that every study's folder gets a copy of: what was asked is kept beside the answers.
TEXTS: tuple[str, ...] = ("consent.yaml", "questions.yaml", "codes.yaml")

#: Name under which the free text of a page is stored.
COMMENT = "comment"


@dataclass(frozen=True)
class Question:
    """One question with the answers that can be given.

    Args:
        name: of its column in exports.
        text: what is asked.
        choices: what can be answered.
        low: what the first choice stands for; empty where choices speak for themselves.
        high: what the last choice stands for.
    """

    name: str
    text: str
    choices: tuple[str, ...]
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Questionnaire:
    """What is asked on every page of one kind of work.

    Args:
        questions: asked of every answer, each to be answered.
        comment: what stands above the free text.
        background: asked once, at the start.
    """

    questions: tuple[Question, ...]
    comment: str
    background: tuple[Question, ...]


@dataclass(frozen=True)
class Consent:
    """What participants agree to.

    Args:
        version: the text's own version and a digest of what it says, so that no change goes
            unnoticed.
        contact: who runs the study and how to reach them.
        sections: heading and text.
        question: what agreeing means.
    """

    version: str
    contact: str
    sections: tuple[tuple[str, str], ...]
    question: str


def default_text(name: str) -> str:
    """Content of one of the files in ``texts/``."""
    return resources.files("mixing_buddy.study").joinpath("texts", name).read_text("utf-8")


def read_questionnaire(path: Path) -> Questionnaire:
    """Read ``questions.yaml`` or ``codes.yaml``.

    Raises:
        StudyError: the file is missing, no YAML, or lacks something.
    """
    content = _read(path, ("scale", "questions", "comment", "background"))
    scale = tuple(map(str, content["scale"]))
    try:
        questions = [_question(entry, scale) for entry in content["questions"]]
        background = [_question(entry, ()) for entry in content["background"]]
    except (KeyError, TypeError) as error:
        raise StudyError(f"{path}: every question needs a name and a text ({error}).") from error
    names = [question.name for question in (*questions, *background)]
    if len(set(names)) < len(names) or COMMENT in names:
        raise StudyError(f"{path}: names of questions must differ, and none may be {COMMENT!r}.")
    return Questionnaire(tuple(questions), str(content["comment"]), tuple(background))


def read_consent(path: Path, *, duration: str) -> Consent:
    """Read ``consent.yaml``.

    Args:
        path: the file.
        duration: how long taking part is, in words, for the text.

    Raises:
        StudyError: the file is missing, no YAML, lacks something, or names no contact.
    """
    content = _read(path, ("version", "contact", "text", "question"))
    if not content["contact"]:
        raise StudyError(
            f"{path}: no contact. Nobody can agree to a study of nobody: write who runs it, and "
            "how to reach them, behind `contact:`."
        )
    sections = tuple(
        (str(part["heading"]), str(part["body"]).replace("{duration}", duration))
        for part in content["text"]
    )
    said = yaml.safe_dump([content["contact"], sections, content["question"]])
    digest = hashlib.blake2b(said.encode(), digest_size=4).hexdigest()
    return Consent(
        f"{content['version']}+{digest}", str(content["contact"]), sections, content["question"]
    )


def _question(entry: Mapping[str, Any], scale: Sequence[str]) -> Question:
    choices = tuple(map(str, entry.get("choices", scale)))
    return Question(
        entry["name"], entry["text"], choices, entry.get("low", ""), entry.get("high", "")
    )


def _read(path: Path, needed: Sequence[str]) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise StudyError(f"{path} can't be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise StudyError(f"{path} is not valid YAML: {error}") from error
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing:
        raise StudyError(f"{path}: no {', '.join(missing)}.")
    return content
