from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.embedding import decode_clip, encode_clips
from mixing_buddy.errors import AudioError
from mixing_buddy.licences import hub_licence, may_embed


@given(st.floats(0.0, 20.0), st.integers(1, 4))
@settings(max_examples=25)
def test_clips_come_back_within_16_bits_and_keep_their_relative_level(peak, num_clips):
    rng = np.random.default_rng(num_clips)
    clips = [rng.uniform(-1, 1, 2_400).astype(np.float32) * np.float32(peak / n) for n in
             range(1, num_clips + 1)]  # fmt: skip
    files, gain_db = encode_clips(clips)
    assert gain_db <= 0.0 and (gain_db == 0.0 or peak > 0.99)
    for clip, file in zip(clips, files, strict=True):
        step = 2.0**-15 * 10 ** (-gain_db / 20)
        np.testing.assert_allclose(decode_clip(file, gain_db), clip, atol=0.75 * step + 1e-6)


def test_damaged_bytes_are_refused():
    with pytest.raises(AudioError, match="can't be decoded"):
        decode_clip(b"fLaC but not really", 0.0)


@pytest.mark.parametrize(
    ("licence", "may", "name"),
    [
        ("CC0-1.0", True, "cc0-1.0"),
        ("CC BY 4.0", True, "cc-by-4.0"),
        ("cc-by-nc-sa-3.0", True, "cc-by-nc-sa-3.0"),
        ("CC_BY-SA 2.0", True, "other"),
        ("CC-BY-NC-ND-4.0", False, "other"),
        ("CC BY-ND 4.0", False, "other"),
        ("unknown", False, "other"),
        ("restricted (MUSDB18: academic use, no redistribution)", False, "other"),
        ("CC0-1.0, but not really", False, "other"),
        ("", False, "other"),
    ],
)
def test_only_licences_that_allow_it_are_embedded(licence, may, name):
    assert may_embed(licence) is may
    assert hub_licence(licence) == name
