"""Augmentation: what is changed, what is not, and that it is the same wherever it is done."""

import json
import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mixing_buddy.chunks import MIN_STEM_DBFS
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.loudness import loudness_lufs, rms_dbfs
from mixing_buddy.rendering import RenderTransform, powers_in_clip, stem_powers
from mixing_buddy.rows import open_rows
from mixing_buddy.training.arguments import AugmentationArguments, DataArguments
from mixing_buddy.training.augmentation import (
    CURVE_HZ,
    AugmentingTransform,
    chunks_of,
    draw_curve_db,
    equalise,
)
from mixing_buddy.training.rows import load_rows

EVERYTHING = AugmentationArguments(
    augment_gain_db=3.0,
    augment_dc_offset=0.005,
    augment_noise_snr_db=[30.0, 60.0],
    augment_tilt_db=1.5,
    augment_peak_db=6.0,
    swap_stems_probability=0.7,
    redraw_balance_db=1.5,
)


@pytest.fixture
def levelled_songs(song_root):
    """Songs that say how loud their mixes stand, as generated ones do."""
    for offset_lufs, name in ((-18.0, "Amber"), (-24.0, "Basalt")):
        facts = {"balance": {"offset_lufs": offset_lufs}}
        (song_root / "train" / name / "song.json").write_text(json.dumps(facts))
    return song_root


@pytest.fixture
def rows(levelled_songs, tmp_path):
    """Training rows of the mode with several clips, unrendered."""
    config = MixingBuddyDatasetConfig(
        sources=(str(levelled_songs),), sampling="sample", samples_per_chunk=2
    )
    build_dataset(config, tmp_path / "dataset", BuildSettings(modes=("differential",)))
    return open_rows(tmp_path / "dataset", "differential", "train")


@pytest.fixture
def augment(rows, levelled_songs):
    def make(settings=EVERYTHING, **options):
        options = {"seed": 0, "chunks": chunks_of(rows), **options}
        return AugmentingTransform({"tiny": levelled_songs}, settings, **options)

    return make


def clips_of(rows, transform) -> list[np.ndarray]:
    return [clip for row in rows.with_transform(transform) for clip in row["clips"]]


def same(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_a_row_sounds_the_same_whenever_and_wherever_it_is_rendered(rows, augment):
    alone = clips_of(rows, augment())
    assert same(alone, clips_of(rows, augment()))
    together = rows.with_transform(augment())[:]["clips"]
    assert same(alone, [clip for clips in together for clip in clips])
    backwards = rows.select(range(len(rows) - 1, -1, -1)).with_transform(augment())
    assert same(alone[:4], backwards[len(rows) - 1]["clips"])
    assert same(alone, clips_of(rows, pickle.loads(pickle.dumps(augment()))))


def test_every_epoch_and_every_seed_sounds_another_way(rows, augment):
    transform = augment()
    first = clips_of(rows, transform)
    transform.epoch = 1
    assert not any(map(np.array_equal, first, clips_of(rows, transform)))
    transform.epoch = 0
    assert same(first, clips_of(rows, transform))
    assert not any(map(np.array_equal, first, clips_of(rows, augment(seed=1))))


def test_workers_that_outlive_an_epoch_hear_of_the_next(rows, augment):
    transform = augment()
    loader = DataLoader(
        rows.with_transform(transform),
        batch_size=None,
        num_workers=1,
        persistent_workers=True,
        collate_fn=lambda row: row["clips"][0],
        multiprocessing_context="fork",
    )
    heard = []
    for epoch in (0, 1):
        transform.epoch = epoch
        heard.append(list(loader))
        expected = [row["clips"][0] for row in rows.with_transform(transform)]
        assert same(heard[-1], expected)
    assert not same(*heard)


def test_nothing_is_changed_unless_it_is_asked_for(rows, augment, levelled_songs):
    plain = clips_of(rows, RenderTransform({"tiny": levelled_songs}))
    assert same(plain, clips_of(rows, augment(AugmentationArguments())))


def test_gain_is_one_for_the_sample_and_moves_its_powers_alike(rows, augment, levelled_songs):
    plain = rows.with_transform(RenderTransform({"tiny": levelled_songs}))
    louder = rows.with_transform(augment(AugmentationArguments(augment_gain_db=3.0)))
    gains_db = []
    for before, after in zip(plain, louder, strict=True):
        ratios = [
            np.sqrt(np.mean(b**2) / np.mean(a**2))
            for a, b in zip(before["clips"], after["clips"], strict=True)
        ]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)
        for a, b in zip(before["stem_powers"], after["stem_powers"], strict=True):
            np.testing.assert_allclose(b, a * ratios[0] ** 2, rtol=1e-4)
        gains_db.append(20 * np.log10(ratios[0]))
    assert max(map(abs, gains_db)) <= 3.001
    assert np.std(gains_db) > 0.5


def test_noise_stands_at_its_ratio_below_the_sample_in_all_its_clips(rows, augment, levelled_songs):
    plain = rows.with_transform(RenderTransform({"tiny": levelled_songs}))
    noisy = rows.with_transform(augment(AugmentationArguments(augment_noise_snr_db=[40.0, 40.0])))
    for before, after in zip(plain, noisy, strict=True):
        noise = [b - a for a, b in zip(before["clips"], after["clips"], strict=True)]
        power = np.mean([np.mean(clip**2) for clip in before["clips"]])
        for each in noise:
            assert 10 * np.log10(power / np.mean(each**2)) == pytest.approx(40.0, abs=0.1)
        assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.02


def test_the_offset_is_the_same_in_all_clips_of_a_sample(rows, augment, levelled_songs):
    plain = rows.with_transform(RenderTransform({"tiny": levelled_songs}))
    shifted = rows.with_transform(augment(AugmentationArguments(augment_dc_offset=0.005)))
    offsets = []
    for before, after in zip(plain, shifted, strict=True):
        shifts = [b - a for a, b in zip(before["clips"], after["clips"], strict=True)]
        offsets.append(float(shifts[0][0]))
        for shift in shifts:
            np.testing.assert_allclose(shift, offsets[-1], atol=1e-6)
    assert 0 < max(map(abs, offsets)) <= 0.005
    assert len(set(offsets)) == len(offsets)


def test_equalising_changes_the_timbre_and_keeps_every_stems_loudness():
    rng = np.random.default_rng(0)
    stems = rng.normal(0, [[0.1], [0.01], [0.0], [0.3]], (4, 48_000)).astype(np.float32)
    curves_db = [draw_curve_db(rng, 1.5, 6.0) for _ in range(4)]
    equalised = equalise(stems, curves_db)
    assert equalised.dtype == np.float32
    assert not equalised[2].any()
    for index in (0, 1, 3):
        loudness = [loudness_lufs(each[index], 24_000) for each in (equalised, stems)]
        assert loudness[0] == pytest.approx(loudness[1], abs=0.05)
        # The ratio of any two bands moves by the difference of the curve there.
        ratio_db = 20 * np.log10(
            np.abs(np.fft.rfft(equalised[index])) / np.abs(np.fft.rfft(stems[index]))
        )
        frequencies = np.fft.rfftfreq(48_000, 1 / 24_000)
        wanted_db = np.interp(frequencies, CURVE_HZ, curves_db[index])
        difference_db = (ratio_db - wanted_db)[frequencies > 20]
        assert np.ptp(difference_db) < 0.1
    np.testing.assert_allclose(equalise(stems, np.zeros((4, CURVE_HZ.size))), stems, atol=1e-6)


def test_swapped_stems_come_from_other_songs_at_this_mixs_level(rows, augment, levelled_songs):
    settings = AugmentationArguments(swap_stems_probability=1.0)
    transform, plain = augment(settings), RenderTransform({"tiny": levelled_songs})
    for row in rows:
        own, swapped = plain.row_stems(row), transform.row_stems(row)
        other = "Basalt" if row["song"] == "Amber" else "Amber"
        # Amber's mix stands 6 dB above Basalt's.
        gain = 10 ** ((6.0 if row["song"] == "Amber" else -6.0) / 20)
        donors = [plain.chunk_stems("tiny", "train", other, start, 10.0) for start in (0.0, 10.0)]
        for index in range(4):
            assert not np.array_equal(swapped[index], own[index])
            assert any(
                np.allclose(swapped[index], gain * donor[index], rtol=1e-5) for donor in donors
            )


def test_a_redrawn_balance_forgets_the_songs_own_deviations(rows, augment, levelled_songs):
    def levels_db(deviation_db, **settings):
        """Levels of the bass of Amber, whose song.json says how far it stands from the usual."""
        place = levelled_songs / "train" / "Amber" / "song.json"
        bass = {"bass": {"deviation_db": deviation_db}}
        place.write_text(json.dumps({"balance": {"offset_lufs": -20.0, "stems": bass}}))
        transform = augment(AugmentationArguments(**settings))
        levels = []
        for epoch in range(8):
            transform.epoch = epoch
            levels += [
                rms_dbfs(transform.row_stems(row)[0]) for row in rows if row["song"] == "Amber"
            ]
        return np.array(levels)

    level_db = levels_db(0.0, augment_gain_db=1e-9)
    redrawn_db = levels_db(0.0, redraw_balance_db=1.5) - level_db
    assert np.ptp(redrawn_db) > 1.0
    # The same draws, from where the stem would stand without its own deviation.
    np.testing.assert_allclose(
        levels_db(2.5, redraw_balance_db=1.5) - level_db, redrawn_db - 2.5, atol=1e-4
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"redraw_balance_db": 2.0}, {"augment_gain_db": 6.0}, {"augment_tilt_db": 1.5}],
)
def test_stem_powers_are_those_of_the_stems_that_are_heard(rows, augment, settings):
    transform = augment(AugmentationArguments(swap_stems_probability=1.0, **settings))
    for row, rendered in zip(rows, rows.with_transform(transform), strict=True):
        stems = transform.row_stems(row)
        for clip, powers in zip(row["audios"], rendered["stem_powers"], strict=True):
            expected = powers_in_clip(stem_powers(stems), clip["stem_gains_db"])
            np.testing.assert_allclose(powers, expected, rtol=1e-3, atol=1e-12)


def test_silent_stems_stay_silent(levelled_songs, write_song, tmp_path, augment):
    write_song(levelled_songs / "train" / "Amber", seed=0, silent=("vocals",))
    config = MixingBuddyDatasetConfig(sources=(str(levelled_songs),), sampling="sample")
    build_dataset(config, tmp_path / "instrumental")
    rows = open_rows(tmp_path / "instrumental", "single_mix", "train")
    settings = AugmentationArguments(swap_stems_probability=1.0)
    transform = augment(settings, chunks=chunks_of(rows))
    for row in rows:
        vocals = transform.row_stems(row)[3]
        if row["song"] == "Amber":
            assert not vocals.any()
        else:  # no other song could lend any
            assert rms_dbfs(vocals) > MIN_STEM_DBFS


def test_songs_of_unknown_balance_are_never_mixed(song_root, rows, augment):
    (song_root / "train" / "Basalt" / "song.json").unlink()
    transform = augment(AugmentationArguments(swap_stems_probability=1.0))
    plain = RenderTransform({"tiny": song_root})
    for row in rows:
        np.testing.assert_array_equal(transform.row_stems(row), plain.row_stems(row))
    (song_root / "train" / "Amber" / "song.json").unlink()
    with pytest.raises(MixingBuddyError, match="generate-songs"):
        augment(AugmentationArguments(swap_stems_probability=1.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("augment_gain_db", -1.0),
        ("swap_stems_probability", 1.5),
        ("redraw_balance_db", -1.0),
        ("augment_noise_snr_db", [60.0, 30.0]),
        ("augment_noise_snr_db", [30.0]),
    ],
)
def test_settings_out_of_range_are_refused_by_name(augment, name, value):
    with pytest.raises(MixingBuddyError, match=name):
        augment(AugmentationArguments(**{name: value}))


def test_rows_to_validate_on_are_never_augmented(rows, levelled_songs, tmp_path):
    args = DataArguments(
        dataset=[str(tmp_path / "dataset")],
        songs=[str(levelled_songs)],
        dataset_config=["differential"],
        stem_dtype="float16",
    )
    transforms = [
        load_rows(args, "train", **options).format["format_kwargs"]["transform"]
        for options in ({"augmentation": EVERYTHING}, {})
    ]
    assert [type(each) for each in transforms] == [AugmentingTransform, RenderTransform]
    assert [each.store.dtype for each in transforms] == ["float16", "float16"]
