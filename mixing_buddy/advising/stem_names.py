"""Which of the four stems a track belongs to, guessed from its file's name.

A name is split into words at everything that is no letter or digit, at a change from small to
capital letters and between letters and digits: "LeadVox2_L" reads "lead vox 2 l". Words that all
files of a folder share (the name of the song) are set aside first. Then the word lists of
``templates/stem_names.yaml`` decide:

1. listed words of several parts come before single ones: a "bass drum" is no bass;
2. a word that is in no list counts as two where both halves are listed: "leadvox";
3. where words of several stems remain, singing, drums and bass come before what is "other" ("Vox
   Delay Guitar" is vocals), and of those the last one counts ("Bass Vox" is a voice);
4. where nothing is known, the track is "other", and the guess says so.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixing_buddy.stems import STEMS
from mixing_buddy.template_pools import load

#: What a file is that holds the whole mix and therefore belongs to no stem.
MIX = "mix"

#: Why a track is "other" whose name says nothing.
UNKNOWN_NAME = "no known word in the name"

#: Longest entry of the lists, in words.
_MAX_WORDS = 3

#: Latin letters that no accent makes.
_LIGATURES = str.maketrans({"ł": "l", "ø": "o", "œ": "oe", "æ": "ae"})

_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


@dataclass(frozen=True)
class StemGuess:
    """What a track was taken for.

    Args:
        stem: one of `STEMS`, or `MIX` where the name says that it is the whole mix.
        word: the word that decided, None where no word is known.
    """

    stem: str
    word: str | None

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        if self.word is None:
            return UNKNOWN_NAME
        return f'by "{self.word}"'


def guess_stem(name: str) -> StemGuess:
    """Guess from one name.

    Args:
        name: name of a file without its suffix, or of a track; any script and case.

    Returns:
        The guess; "other" without a word where nothing is known.
    """
    return _decide(split_words(name))


def guess_stems(names: Sequence[str]) -> list[StemGuess]:
    """Guess from the names of one song's tracks.

    Args:
        names: names without suffix. Words that all of them begin or end with are set aside, unless
            nothing is known of what is left of any.

    Returns:
        One guess for each.
    """
    words = [split_words(name) for name in names]
    if len(words) < 2:
        return [_decide(each) for each in words]
    start = _count_common(words)
    end = _count_common([each[start:][::-1] for each in words])
    own = [_decide(each[start : len(each) - end]) for each in words]
    # "Lead Vox 1" and "Lead Vox 2": what they share is no song's name, but what they are.
    return own if any(guess.word for guess in own) else [_decide(each) for each in words]


def split_words(name: str) -> list[str]:
    """Split a name into words: lower case, without accents, digits apart from letters."""
    spaced = _CAMEL.sub(" ", unicodedata.normalize("NFC", name))
    return [_plain(word) for word in _WORD.findall(spaced)]


def _plain(word: str) -> str:
    """Fold case, width and Latin accents; marks of other scripts are part of their letters."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    letters = []
    for letter in folded:
        base = unicodedata.normalize("NFD", letter)[0]
        letters.append(base if "a" <= base <= "z" else letter)
    return "".join(letters).translate(_LIGATURES)


@functools.cache
def _lexicon() -> tuple[Mapping[tuple[str, ...], str], frozenset[str]]:
    """Stem by listed words, and all single words, with those that say nothing."""
    listed = load("stem_names")
    stems = {tuple(split_words(entry)): stem for stem in (*STEMS, MIX) for entry in listed[stem]}
    singles = {words[0] for words in stems if len(words) == 1}
    return stems, frozenset(singles) | frozenset(listed["neutral"])


def _decide(words: Sequence[str]) -> StemGuess:
    """Apply the lists to a name's words."""
    found = _find(_divide(words))
    longest = max((len(entry.split()) for entry, _ in found), default=0)
    if longest > 1:
        found = [each for each in found if len(each[0].split()) == longest]
    for candidates in (("vocals", "drums", "bass"), ("other",), (MIX,)):
        hits = [(entry, stem) for entry, stem in found if stem in candidates]
        if hits:
            entry, stem = hits[-1]
            return StemGuess(stem, entry)
    return StemGuess("other", None)


def _find(words: Sequence[str]) -> list[tuple[str, str]]:
    """Find listed entries from left to right, longest first; parts of one are not found again."""
    stems, _ = _lexicon()
    found = []
    place = 0
    while place < len(words):
        for length in range(min(_MAX_WORDS, len(words) - place), 0, -1):
            entry = tuple(words[place : place + length])
            stem = stems.get(entry) or stems.get((*entry[:-1], entry[-1].removesuffix("s")))
            if stem is not None:
                found.append((" ".join(entry), stem))
                place += length
                break
        else:
            place += 1
    return found


def _divide(words: Sequence[str]) -> list[str]:
    """Divide unknown words into two known ones where that is possible."""
    _, known = _lexicon()
    divided: list[str] = []
    for word in words:
        halves = [(word[:place], word[place:]) for place in range(2, len(word) - 2)]
        pairs = [
            pair
            for pair in halves
            if all(half in known or half.removesuffix("s") in known for half in pair)
        ]
        is_known = word in known or word.removesuffix("s") in known
        divided += pairs[-1] if pairs and not is_known else [word]
    return divided


def _count_common(words: Sequence[Sequence[str]]) -> int:
    """How many words all begin with."""
    count = 0
    for column in zip(*words, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
