"""`datasets` builder: folders of songs in, rows of recipes with question and answer out.

Example:
    >>> from mixing_buddy.dataset_builder import MixingBuddyDataset
    >>> builder = MixingBuddyDataset(config_name="single_mix", sources=["songs/musdb18hq"])
    >>> builder.download_and_prepare(num_proc=2)
    >>> train = builder.as_dataset(split="train")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets

from mixing_buddy import prompts
from mixing_buddy.chunks import Chunk, ChunkScan, find_chunks
from mixing_buddy.errors import MixingBuddyError, RecipeError, SongError
from mixing_buddy.flaws import Category
from mixing_buddy.recipes import (
    GENERATOR_VERSION,
    SINGLE_MIX,
    Recipe,
    enumerate_recipes,
    sample_recipes,
)
from mixing_buddy.rendering import StemStore, content_identity
from mixing_buddy.songs import SPLITS, Song, find_songs, read_source
from mixing_buddy.stems import ADVISED_STEMS, STEMS

logger = datasets.logging.get_logger(__name__)

#: Columns of a row, in order: those of `Recipe.to_row`.
FEATURES = datasets.Features(
    {
        "uid": datasets.Value("string"),
        "generator_version": datasets.Value("string"),
        "mode": datasets.Value("string"),
        "source": datasets.Value("string"),
        "song": datasets.Value("string"),
        "split": datasets.Value("string"),
        "start_s": datasets.Value("float64"),
        "duration_s": datasets.Value("float64"),
        "sample_rate": datasets.Value("int32"),
        "target": datasets.Value("string"),
        "anchor": datasets.Value("string"),
        "category": datasets.Value("string"),
        "gain_db": datasets.Value("float64"),
        "stem_gains_db": {stem: datasets.Value("float64") for stem in STEMS},
        "direction": datasets.Value("string"),
        "min_db": datasets.Value("float64"),
        "max_db": datasets.Value("float64"),
        "prompt_category": datasets.Value("string"),
        "instruction": datasets.Value("string"),
        "response": datasets.Value("string"),
        "seed": datasets.Value("int64"),
        "licence": datasets.Value("string"),
    }
)


@dataclass
class MixingBuddyDatasetConfig(datasets.BuilderConfig):
    """Settings of the data set; the name of the configuration is the mode.

    Args:
        sources: folders of songs, see `mixing_buddy.songs`.
        sampling: "enumerate" takes every target, anchor and category of each chunk, "sample"
            draws `samples_per_chunk` of them.
        samples_per_chunk: how many to draw, for "sample" only.
        seed: base seed of gains, wordings and draws.
        no_error_tolerance_db: gain range of balanced samples, see `draw_gain_db`.
        skip_broken: leave out songs that can't be used, with a warning, instead of stopping.
        stem_cache_dir: where decoded stems are kept, see `StemStore`.
    """

    sources: tuple[str, ...] = ()
    sampling: str = "enumerate"
    samples_per_chunk: int = 10
    seed: int = 0
    no_error_tolerance_db: float = 0.0
    skip_broken: bool = False
    stem_cache_dir: str | None = None

    def songs(
        self, on_broken: Callable[[Path, MixingBuddyError], None] = lambda folder, error: None
    ) -> list[Song]:
        """List the songs of all sources.

        Args:
            on_broken: called for each song left out, if `skip_broken` is on.

        Raises:
            SongError: there is no usable song, two sources share a name, or a song is broken
                and `skip_broken` is off.
        """
        sources = [read_source(root) for root in self.sources]
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                roots = " and ".join(str(item.root) for item in sources if item.name == name)
                raise SongError(
                    f"{roots} are both named {name!r}: recipes could not tell their songs apart. "
                    "Give one another 'name:' in its source.yaml."
                )
        report = on_broken if self.skip_broken else None
        songs = [song for source in sources for song in find_songs(source.root, on_broken=report)]
        if not songs:
            raise SongError("No usable songs: give at least one folder of songs as a source.")
        return songs

    def create_config_id(
        self, config_kwargs: dict, custom_features: datasets.Features | None = None
    ) -> str:
        """Name the cache folder after all that rows depend on, so that no stale one is used."""
        self._check()
        described = {
            "songs": [
                (song.source, song.split, song.name, song.licence, content_identity(song))
                for song in self.songs()
            ],
            "settings": [
                self.sampling,
                self.samples_per_chunk if self.sampling == "sample" else None,
                self.seed,
                self.no_error_tolerance_db,
                self.skip_broken,
            ],
            "generator_version": GENERATOR_VERSION,
            "texts": _all_texts(),
        }
        fingerprint = hashlib.blake2b(json.dumps(described).encode(), digest_size=8).hexdigest()
        return super().create_config_id({"fingerprint": fingerprint}, custom_features)

    def recipes(self, chunk: Chunk) -> Iterator[Recipe]:
        """Make the recipes of one chunk."""
        settings = {
            "base_seed": self.seed,
            "no_error_tolerance_db": self.no_error_tolerance_db,
        }
        if self.sampling == "enumerate":
            return enumerate_recipes(chunk, **settings)
        return sample_recipes(chunk, self.samples_per_chunk, **settings)

    def _check(self) -> None:
        if self.sampling not in ("enumerate", "sample"):
            raise RecipeError(f"Unknown sampling {self.sampling!r}: take 'enumerate' or 'sample'.")
        if self.samples_per_chunk < 1:
            raise RecipeError(f"{self.samples_per_chunk} samples a chunk: at least 1 is needed.")
        if not 0.0 <= self.no_error_tolerance_db <= 3.0:
            raise RecipeError(
                f"A no-error tolerance of {self.no_error_tolerance_db:g} dB: it must lie between 0 "
                "and 3 dB, where the quiet and loud categories begin."
            )


class MixingBuddyDataset(datasets.GeneratorBasedBuilder):
    """Builds recipes from folders of songs; splits are those that the sources have."""

    BUILDER_CONFIG_CLASS = MixingBuddyDatasetConfig
    BUILDER_CONFIGS = (
        MixingBuddyDatasetConfig(
            name=SINGLE_MIX,
            version=datasets.Version("1.0.0"),
            description="The model hears the flawed mix; the anchor is named in the instruction.",
        ),
    )
    DEFAULT_CONFIG_NAME = SINGLE_MIX

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Gain-balance advice on music mixes: recipes of flawed mixes with "
            "question and answer.",
            features=FEATURES,
        )

    def _split_generators(
        self, dl_manager: datasets.DownloadManager
    ) -> list[datasets.SplitGenerator]:
        songs = self.config.songs(_warn_of_broken)
        return [
            datasets.SplitGenerator(split, gen_kwargs={"songs": songs_of_split})
            for split in SPLITS
            if (songs_of_split := [song for song in songs if song.split == split])
        ]

    def _generate_examples(self, songs: list[Song]) -> Iterator[tuple[str, dict]]:
        store = StemStore(self.config.stem_cache_dir)
        for song in songs:
            try:
                scan = scan_song(song, store)
            except MixingBuddyError as error:
                if not self.config.skip_broken:
                    raise
                _warn_of_broken(song.folder, error)
                continue
            for chunk in scan.chunks:
                for recipe in self.config.recipes(chunk):
                    yield recipe.uid, recipe.to_row()


def scan_song(song: Song, store: StemStore) -> ChunkScan:
    """Decode a song, unless the store has it, and find its chunks.

    Raises:
        SongError: the stems can't be used, see `load_stems`.
    """
    return find_chunks(song, store.open(song))


def _warn_of_broken(folder: Path, error: MixingBuddyError) -> None:
    logger.warning(f"Song left out: {error}")


def _all_texts() -> list[str]:
    """Every template, filled in once for each stem that it may speak of."""
    instructions = [
        prompts.instruction(index, duration_s=10.0, stems=STEMS, anchor=anchor)
        for index in range(prompts.NUM_INSTRUCTIONS)
        for anchor in ADVISED_STEMS
    ]
    responses = [
        prompts.response(index, category, target=target, anchor=anchor)
        for index in range(prompts.NUM_RESPONSES)
        for category in Category
        for target in ADVISED_STEMS
        for anchor in ADVISED_STEMS
        if anchor != target
    ]
    return instructions + responses
