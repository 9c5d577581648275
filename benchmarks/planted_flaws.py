"""What a model says of a real song when one fader is moved, and when none is.

For each of bass, drums and vocals moved down and up, and for the song as it stands: how many
answers on windows are right, and what the advice on the whole song is. An answer counts where the
moved stem and another advised stem can be heard in the window and the anchor is not the moved stem.
It is right where it names the moved stem and the way back; on the song as it stands, where it
changes nothing.

Usage:
    python benchmarks/planted_flaws.py SONG_FOLDER [--gain-db 9] [--model FOLDER_OR_ID]
"""

from __future__ import annotations

import argparse

from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import ADVISED_STEMS


def count_right(song: SongAdvice, stem: str | None, direction: Direction) -> tuple[int, int]:
    """Count the right answers, and those that could be right."""
    asked = [
        window.advice
        for window in song.windows
        if stem is None or (stem in window.stems and window.anchor != stem)
    ]
    return sum((a.stem, a.direction) == (stem, direction) for a in asked), len(asked)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("song", help="folder of the stems bass, drums, other and vocals")
    parser.add_argument("--gain-db", type=float, default=9.0, help="how far a fader is moved")
    parser.add_argument("--model", help="folder or Hub id; nano by default")
    arguments = parser.parse_args()
    buddy = MixingBuddy.from_pretrained(arguments.model)
    cases: list[tuple[str | None, float, Direction]] = [(None, 0.0, Direction.NONE)]
    for stem in ADVISED_STEMS:
        cases += [
            (stem, -arguments.gain_db, Direction.RAISE),
            (stem, arguments.gain_db, Direction.LOWER),
        ]
    print(f"{'moved':>16}  {'answers right':>13}  {'whole song':24} right")
    total_right = total_asked = 0
    for stem, gain_db, direction in cases:
        faders_db = {stem: gain_db} if stem else None
        song = buddy.advise(arguments.song, faders_db=faders_db)
        right, asked = count_right(song, stem, direction)
        total_right, total_asked = total_right + right, total_asked + asked
        moved = f"{stem} {gain_db:+g} dB" if stem else "nothing"
        verdict = f"{song.direction} {song.stem}" if song.stem else "leave as it is"
        mark = "yes" if (song.stem, song.direction) == (stem, direction) else "no"
        print(f"{moved:>16}  {f'{right} of {asked}':>13}  {verdict:24} {mark}")
    print(f"{'all':>16}  {f'{total_right} of {total_asked}':>13}")


if __name__ == "__main__":
    main()
