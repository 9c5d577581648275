"""What each augmentation costs: CPU time to render a training row, in milliseconds.

python benchmarks/augmentation_cost.py datasets/generated songs/generated
"""

import argparse
import time

from mixing_buddy.rows import spread
from mixing_buddy.training.arguments import AugmentationArguments, DataArguments
from mixing_buddy.training.rows import load_rows

SETTINGS = {
    "none": {},
    "gain": {"augment_gain_db": 3.0},
    "offset": {"augment_dc_offset": 0.005},
    "noise": {"augment_noise_snr_db": [30.0, 60.0]},
    "tilt": {"augment_tilt_db": 1.0},
    "tilt and peaks": {"augment_tilt_db": 1.0, "augment_peak_db": 6.0},
    "half of the stems swapped": {"swap_stems_probability": 0.5},
}


def main() -> None:
    """Render the same rows with each setting, after once to warm caches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="folder that mixing-buddy build wrote")
    parser.add_argument("songs", help="its songs")
    parser.add_argument("--rows", type=int, default=60)
    args = parser.parse_args()
    data = DataArguments(dataset=[args.dataset], songs=[args.songs])
    for name, settings in SETTINGS.items():
        augmentation = AugmentationArguments(**settings)
        rows = spread(load_rows(data, "train", augmentation=augmentation), args.rows)
        rows[:]
        start_s = time.process_time()
        rows[:]
        cost_ms = 1000 * (time.process_time() - start_s) / len(rows)
        print(f"{name}: {cost_ms:.1f} ms a row", flush=True)


if __name__ == "__main__":
    main()
