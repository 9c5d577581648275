"""Everything that participants said, in one SQLite file, each answer on disk before the next.

Nobody is in it by name: a participant is a number, and the code that they come back with is kept as
a digest only. Write-ahead logging lets several people answer at once; a process that is killed
loses nothing that was answered.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixing_buddy.errors import StudyError
from mixing_buddy.study.abx import summarise_trials
from mixing_buddy.study.material import Study
from mixing_buddy.study.ordering import draw_codings, draw_pages, draw_trials
from mixing_buddy.study.questions import COMMENT

#: Those who rate answers, and those who code them.
RATER, ANNOTATOR = "rater", "annotator"

# Without letters and digits that are mistaken for one another.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_CODE_LENGTH = 8

_TABLES = """
CREATE TABLE IF NOT EXISTS participants (
    participant INTEGER PRIMARY KEY AUTOINCREMENT,
    role TEXT NOT NULL,
    code_digest TEXT NOT NULL UNIQUE,
    consent TEXT,
    seed INTEGER NOT NULL,
    joined_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS background (
    participant INTEGER NOT NULL REFERENCES participants ON DELETE CASCADE,
    question TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (participant, question)
);
CREATE TABLE IF NOT EXISTS pages (
    participant INTEGER NOT NULL REFERENCES participants ON DELETE CASCADE,
    position INTEGER NOT NULL,
    item TEXT NOT NULL,
    system TEXT NOT NULL,
    label TEXT NOT NULL,
    shown_at TEXT,
    finished_at TEXT,
    PRIMARY KEY (participant, position)
);
CREATE TABLE IF NOT EXISTS answers (
    participant INTEGER NOT NULL,
    position INTEGER NOT NULL,
    question TEXT NOT NULL,
    value TEXT NOT NULL,
    saved_at TEXT NOT NULL,
    num_changes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (participant, position, question),
    FOREIGN KEY (participant, position) REFERENCES pages ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS abx_trials (
    participant INTEGER NOT NULL REFERENCES participants ON DELETE CASCADE,
    position INTEGER NOT NULL,
    pair TEXT NOT NULL,
    level_db REAL NOT NULL,
    x TEXT NOT NULL,
    answer TEXT,
    answered_at TEXT,
    PRIMARY KEY (participant, position)
);
CREATE TABLE IF NOT EXISTS abx_results (
    participant INTEGER NOT NULL REFERENCES participants ON DELETE CASCADE,
    level_db REAL NOT NULL,
    num_trials INTEGER NOT NULL,
    num_correct INTEGER NOT NULL,
    p_value REAL NOT NULL,
    PRIMARY KEY (participant, level_db)
);
"""


@dataclass(frozen=True)
class Progress:
    """Where a participant stands.

    Args:
        phase: "background", "abx", "pages" or "done".
        position: of the trial or page that is due.
        total: how many there are.
        due: the trial or page itself, as its row in the file.
        answers: what was answered on that page, by name of question.
    """

    phase: str
    position: int = 0
    total: int = 0
    due: Mapping[str, Any] | None = None
    answers: Mapping[str, str] | None = None


def new_code() -> str:
    """Make a code for a participant to come back with: 40 random bits, as in "K7QX-M2PD"."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


class Store:
    """The answers of one study.

    Args:
        study: the study; its file is made beside it where it is missing.
        path: another file than ``answers.sqlite`` in the study's folder.
    """

    def __init__(self, study: Study, path: Path | None = None) -> None:
        self._study = study
        self.path = path or study.folder / "answers.sqlite"
        with self.transaction() as database:
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
        # Whenever the last connection closes, SQLite folds its log into the file, which takes many
        # times as long as an answer: one that does nothing stays open.
        self._idle = sqlite3.connect(self.path, check_same_thread=False)
        self._idle.execute("SELECT participant FROM participants").close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction: all of it is on disk afterwards, or nothing."""
        # A connection for each, as threads may not share one; it costs a tenth of a millisecond.
        try:
            database = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise StudyError(f"{self.path} can't be opened: {error}.") from error
        database.row_factory = sqlite3.Row
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        finally:
            database.close()

    def join(self, role: str, code: str, *, consent: str | None = None) -> int:
        """Take a new participant in, with a seed, an order of pages and listening trials.

        Args:
            role: `RATER` or `ANNOTATOR`; the latter code every answer and take no listening check.
            code: what they come back with.
            consent: version of the text that they agreed to.

        Returns:
            Number of the participant.

        Raises:
            StudyError: the code is taken.
        """
        seed = secrets.randbits(32)
        with self.transaction() as database:
            try:
                cursor = database.execute(
                    "INSERT INTO participants (role, code_digest, consent, seed, joined_at) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (role, self._digest(code), consent, seed, _now()),
                )
            except sqlite3.IntegrityError as error:
                raise StudyError("This code is taken.") from error
            number = int(cursor.lastrowid)
            rates = role == RATER
            pages = draw_pages(self._study, number, seed) if rates else draw_codings(
                self._study, seed
            )  # fmt: skip
            database.executemany(
                "INSERT INTO pages (participant, position, item, system, label) "
                "VALUES (?, ?, ?, ?, ?)",
                [(number, at, page.item, page.system, page.label) for at, page in enumerate(pages)],
            )
            trials = draw_trials(self._study, seed) if rates else []
            database.executemany(
                "INSERT INTO abx_trials (participant, position, pair, level_db, x) "
                "VALUES (?, ?, ?, ?, ?)",
                [(number, at, t.pair, t.level_db, t.x) for at, t in enumerate(trials)],
            )
        return number

    def find(self, role: str, code: str) -> int | None:
        """Number of the participant of a role with a code, None if there is none."""
        with self.transaction() as database:
            row = database.execute(
                "SELECT participant FROM participants WHERE role = ? AND code_digest = ?",
                (role, self._digest(code)),
            ).fetchone()
        return None if row is None else int(row["participant"])

    def progress(self, participant: int, background: tuple[str, ...] = ()) -> Progress:
        """Where a participant stands; a page that is due counts as shown from now on.

        Args:
            participant: their number.
            background: names of the questions that are asked at the start.
        """
        with self.transaction() as database:
            answered = {
                row["question"]
                for row in database.execute(
                    "SELECT question FROM background WHERE participant = ?", (participant,)
                )
            }
            if not answered.issuperset(background):
                return Progress("background")
            trials = _rows(database, "abx_trials", participant)
            due = next((trial for trial in trials if trial["answer"] is None), None)
            if due is not None:
                return Progress("abx", due["position"], len(trials), due)
            pages = _rows(database, "pages", participant)
            due = next((page for page in pages if page["finished_at"] is None), None)
            if due is None:
                return Progress("done", len(pages), len(pages))
            at = (participant, due["position"])
            database.execute(
                "UPDATE pages SET shown_at = ? "
                "WHERE participant = ? AND position = ? AND shown_at IS NULL",
                (_now(), *at),
            )
            answers = database.execute(
                "SELECT question, value FROM answers WHERE participant = ? AND position = ?", at
            )
            said = {row["question"]: row["value"] for row in answers}
            return Progress("pages", due["position"], len(pages), due, said)

    def save_background(self, participant: int, question: str, value: str) -> None:
        """Store one answer about the participant."""
        with self.transaction() as database:
            database.execute(
                "INSERT INTO background VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value",
                (participant, question, value),
            )

    def save_answer(self, participant: int, position: int, question: str, value: str) -> None:
        """Store one answer on a page; a later one replaces it.

        Raises:
            StudyError: the participant has no such page.
        """
        with self.transaction() as database:
            try:
                database.execute(
                    "INSERT INTO answers (participant, position, question, value, saved_at) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, "
                    "saved_at = excluded.saved_at, num_changes = num_changes + 1 "
                    "WHERE value != excluded.value",
                    (participant, position, question, value, _now()),
                )
            except sqlite3.IntegrityError as error:
                raise StudyError("There is no such page.") from error

    def save_comment(self, participant: int, position: int, text: str) -> None:
        """Store what was written on a page; an empty text removes it.

        Raises:
            StudyError: the participant has no such page.
        """
        if text:
            self.save_answer(participant, position, COMMENT, text)
            return
        with self.transaction() as database:
            database.execute(
                "DELETE FROM answers WHERE participant = ? AND position = ? AND question = ?",
                (participant, position, COMMENT),
            )

    def finish_page(self, participant: int, position: int) -> None:
        """Note that a page is complete; the first time counts."""
        with self.transaction() as database:
            database.execute(
                "UPDATE pages SET finished_at = ? "
                "WHERE participant = ? AND position = ? AND finished_at IS NULL",
                (_now(), participant, position),
            )

    def save_trial(self, participant: int, position: int, answer: str) -> None:
        """Store what X was said to be, once; the last trial's answer stores the test's result."""
        with self.transaction() as database:
            database.execute(
                "UPDATE abx_trials SET answer = ?, answered_at = ? "
                "WHERE participant = ? AND position = ? AND answer IS NULL",
                (answer, _now(), participant, position),
            )
            trials = _rows(database, "abx_trials", participant)
            if all(trial["answer"] for trial in trials):
                database.executemany(
                    "INSERT OR IGNORE INTO abx_results "
                    "VALUES (:participant, :level_db, :num_trials, :num_correct, :p_value)",
                    [{"participant": participant, **one} for one in summarise_trials(trials)],
                )

    def withdraw(self, participant: int) -> None:
        """Delete a participant and everything that they said."""
        with self.transaction() as database:
            database.execute("DELETE FROM participants WHERE participant = ?", (participant,))
        # What was deleted stands in the log of changes until it is written back.
        database = sqlite3.connect(self.path, timeout=30.0)
        try:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            database.close()

    def _digest(self, code: str) -> str:
        letters = "".join(filter(str.isalnum, code.upper()))
        key = self._study.study_id.encode()
        return hashlib.blake2b(letters.encode(), key=key, digest_size=16).hexdigest()


def _rows(database: sqlite3.Connection, table: str, participant: int) -> list[dict[str, Any]]:
    found = database.execute(
        f"SELECT * FROM {table} WHERE participant = ? ORDER BY position", (participant,)
    )
    return [dict(row) for row in found]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
