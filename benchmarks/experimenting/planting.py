"""Whole songs with one fader moved: is the advice on a question, a window, the song right?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixing_buddy.advising.combining import WindowAdvice, combine
from mixing_buddy.advising.questions import list_questions
from mixing_buddy.advising.ranking import Ranking, pool
from mixing_buddy.advising.windows import read_windows
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import ADVISED_STEMS

_ANSWERS = "answers.jsonl"


def ask_planted(songs: Path, model: str, count: int, gain_db: float, out: Path) -> None:
    """Ask a model about songs as they stand and with each advised stem moved down and up.

    Writes `answers.jsonl`, a line for each mix with `song`, `moved` (stem and gain, None as it
    stands) and `counts` (see `count_right`). What is there already is not asked again.

    Args:
        songs: folder of folders of stems; the first by name are taken.
        model: folder or Hub id.
        count: how many songs.
        gain_db: how far a fader is moved.
        out: folder, made if it is missing.

    Raises:
        MixingBuddyError: there are no songs.
    """
    from tqdm.auto import tqdm

    from mixing_buddy.cli.options import load_buddy

    folders = sorted(path for path in songs.iterdir() if path.is_dir())[:count]
    if not folders:
        raise MixingBuddyError(f"{songs} holds no folder of stems.")
    out.mkdir(parents=True, exist_ok=True)
    path = out / _ANSWERS
    # A song is written at once; half a line is left only where that was cut off.
    kept = (
        [line for line in path.read_text().splitlines(True) if line.endswith("\n")]
        if (path.exists())
        else []
    )
    per_song = 1 + 2 * len(ADVISED_STEMS)
    num_done = len(kept) // per_song
    path.write_text("".join(kept[: num_done * per_song]))
    buddy = load_buddy(model, None, 32)
    for folder in tqdm(folders[num_done:], desc="Songs", unit="song"):
        lines = list(_ask_song(buddy, folder, gain_db))
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))


def _ask_song(buddy, folder: Path, gain_db: float) -> Iterator[dict]:
    cases: list[tuple[str | None, float, Direction]] = [(None, 0.0, Direction.NONE)]
    for stem in ADVISED_STEMS:
        cases += [(stem, -gain_db, Direction.RAISE), (stem, gain_db, Direction.LOWER)]
    for stem, moved_db, direction in cases:
        line = {"song": folder.name, "moved": stem and f"{stem} {moved_db:+g} dB"}
        try:
            windows = read_windows(
                folder, faders_db={stem: moved_db} if stem else None, mode="single_mix"
            )
        except MixingBuddyError as error:
            # Nothing to judge in it: a mix that doesn't count, and why.
            nothing = dict.fromkeys(("question", "window", "song"), (0, 0))
            yield {**line, "counts": nothing, "left_out": str(error)}
            continue
        heard = buddy.ask(list_questions(windows), with_ranking=True)
        yield {**line, "counts": count_right(heard, stem, direction)}


def count_right(
    heard: Sequence[tuple[WindowAdvice, Ranking]], stem: str | None, direction: Direction
) -> dict[str, tuple[int, int]]:
    """Count what is right, and what could be, by how much of the song it is based on.

    Args:
        heard: what was answered on each window of a song against each anchor, and how likely each
            piece of advice is there.
        stem: the stem that was moved; None where none was.
        direction: the way back.

    Returns:
        Right and asked for "question" (a window with an anchor, the moved stem sounding and not
        the anchor), "window" (all its questions pooled) and "song" (all windows pooled).
    """

    def is_right(advice) -> bool:
        return (advice.stem, advice.direction) == (stem, direction)

    def pooled(part: Sequence[tuple[WindowAdvice, Ranking]]):
        return combine([answer for answer, _ in part], ranking=pool([rank for _, rank in part]))

    heard = [each for each in heard if stem is None or stem in each[0].stems]
    questions = [answer.advice for answer, _ in heard if answer.anchor != stem]
    windows = [
        pooled([each for each in heard if each[0].start_s == start_s])
        for start_s in dict.fromkeys(answer.start_s for answer, _ in heard)
    ]
    return {
        "question": (sum(map(is_right, questions)), len(questions)),
        "window": (sum(map(is_right, windows)), len(windows)),
        "song": (int(is_right(pooled(heard))), 1) if heard else (0, 0),
    }
