"""What the model hears in each mode: clips, each a sum of stems with gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixing_buddy.schema import DIFFERENTIAL, STEMS_MODE, Clip
from mixing_buddy.stems import STEMS


def clips_of(
    mode: str,
    audible_stems: Sequence[str],
    stem_gains_db: Mapping[str, float],
    target: str,
    anchor: str | None,
    *,
    balanced_gains_db: Mapping[str, float],
) -> list[Clip]:
    """List the clips of a sample.

    Args:
        mode: one of `MODES`.
        audible_stems: the stems that can be heard, in the order of `STEMS`.
        stem_gains_db: gain of each stem in the flawed mix, in dB.
        target: the stem that is changed.
        anchor: the stem whose level is taken as right; None in "differential" only.
        balanced_gains_db: gain of each stem in the balanced mix, in dB.
    """
    if mode == STEMS_MODE:
        others = [stem for stem in audible_stems if stem != anchor]
        return [_clip(stem, stem_gains_db, (stem,)) for stem in (anchor, *others)]
    if mode == DIFFERENTIAL:
        backing = [stem for stem in STEMS if stem != target]
        return [
            _clip("target_a", stem_gains_db, (target,)),
            _clip("backing_a", stem_gains_db, backing),
            _clip("target_b", balanced_gains_db, (target,)),
            _clip("backing_b", balanced_gains_db, backing),
        ]
    return [_clip("mix", stem_gains_db, STEMS)]


def _clip(name: str, stem_gains_db: Mapping[str, float], stems: Sequence[str]) -> Clip:
    return Clip(name, {stem: stem_gains_db[stem] if stem in stems else None for stem in STEMS})
