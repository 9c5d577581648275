"""The dataset: a `datasets` builder that makes recipes from folders of songs."""

from mixing_buddy.dataset_builder.mixing_buddy_dataset import (
    MixingBuddyDataset,
    MixingBuddyDatasetConfig,
)

__all__ = ["MixingBuddyDataset", "MixingBuddyDatasetConfig"]
