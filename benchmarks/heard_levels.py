"""Where the errors are made: in hearing, or in answering.

The level head says how loud every stem stands in a clip. A classifier that learns from what it
hears (gradient boosting, the one of the evaluation's ceiling) can be compared with the same
classifier on the true levels, and with the model's own answers (`mixing-buddy evaluate`) on the
same rows. What the first loses against the second is lost in hearing; what answers lose against
the first is lost in the language model.

Usage:
    python benchmarks/heard_levels.py datasets/generated --songs songs/generated --mode stems
"""

from __future__ import annotations

import argparse


def main() -> None:
    """Hear rows of two splits, fit on one, judge on the other, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote, or a Hub id")
    parser.add_argument("--songs", required=True, help="the songs that its rows name")
    parser.add_argument("--mode", default="single_mix", choices=["single_mix", "stems"])
    parser.add_argument("--model", help="folder or Hub id (default: the nano of the package)")
    parser.add_argument("--split", default="validation", help="split to judge (validation)")
    parser.add_argument("--train-limit", type=int, default=2000, help="rows to fit on (2000)")
    parser.add_argument("--limit", type=int, default=1000, help="rows to judge (1000)")
    parser.add_argument("--num-workers", type=int, default=1, help="processes that render (1)")
    arguments = parser.parse_args()

    import numpy as np
    from torch.utils.data import DataLoader

    from mixing_buddy import MixingBuddy
    from mixing_buddy.collation import LEVEL_FLOOR_DB, HearingCollator
    from mixing_buddy.evaluation.ceiling import boosted_listener
    from mixing_buddy.evaluation.verdicts import VERDICTS, true_verdicts
    from mixing_buddy.flaws import FLAWS
    from mixing_buddy.training.arguments import DataArguments
    from mixing_buddy.training.rows import load_rows

    buddy = MixingBuddy.from_pretrained(*([arguments.model] if arguments.model else []))
    data = DataArguments(
        dataset=[arguments.dataset], songs=[arguments.songs], dataset_config=[arguments.mode]
    )
    heard, true, rows = {}, {}, {}
    for split, limit in (("train", arguments.train_limit), (arguments.split, arguments.limit)):
        table = load_rows(data, split, limit)
        collator = HearingCollator(buddy.processor, _facts)
        loader = DataLoader(table, 32, collate_fn=collator, num_workers=arguments.num_workers)
        heard[split], true[split], rows[split] = _listen(buddy.model, loader, split)

    audible = true[arguments.split] > LEVEL_FLOOR_DB + 5.0
    error_db = (heard[arguments.split] - true[arguments.split])[audible]
    print(f"loudness of audible stems, RMS error: {np.sqrt((error_db**2).mean()):.2f} dB")
    joint = [None if v is None else (v[0], FLAWS[v[1]].direction) for v in VERDICTS]
    print(f"\n| {arguments.mode}, from | joint, % |\n| --- | --- |")
    for name, levels in (("heard levels", heard), ("true levels", true)):
        listener = boosted_listener().fit(rows["train"], _as_measures(levels["train"]))
        judged = rows[arguments.split]
        best = listener.posteriors(judged, _as_measures(levels[arguments.split])).argmax(1)
        right = [joint[a] == joint[b] for a, b in zip(best, true_verdicts(judged), strict=True)]
        print(f"| {name} | {100 * np.mean(right):.1f} |")


def _facts(rows, tokens_per_clip) -> dict:
    """Carry along what rows say of themselves, and how their tokens divide."""
    wanted = ("category", "target", "anchor", "gain_db")
    return {
        "facts": [{name: row[name] for name in wanted} for row in rows],
        "clips_per_row": [len(row["clips"]) for row in rows],
        "tokens_per_clip": list(tokens_per_clip),
    }


def _listen(model, loader, split: str):
    """Return heard and true loudness of the stems of every row, `(num_rows, 4)` in dB, and rows."""
    import numpy as np
    import torch
    from tqdm.auto import tqdm

    from mixing_buddy.collation import LEVEL_FLOOR_DB

    heard, true, rows = [], [], []
    for batch in tqdm(loader, f"Hearing {split}", unit="batch", disable=None):
        facts, clips_per_row = batch.pop("facts"), batch.pop("clips_per_row")
        counts = batch.pop("tokens_per_clip")
        labels_db = batch.pop("stem_levels_labels_db")[:, 1].split(counts)
        with torch.inference_mode():
            levels_db = model(**batch).stem_levels_db[:, 1].split(counts)
        clips = iter(zip(levels_db, labels_db, strict=True))
        for row, num_clips in zip(facts, clips_per_row, strict=True):
            of_row = [next(clips) for _ in range(num_clips)]
            # Tracks that are heard one by one each tell of the stem that is in them.
            stacked = torch.stack([labels[0] for _, labels in of_row])
            source = stacked.argmax(0)
            places = torch.arange(stacked.shape[1])
            levels = torch.stack([level.mean(0) for level, _ in of_row])
            heard.append(levels[source, places].float().numpy())
            true.append(stacked[source, places].numpy())
            rows.append(row)
    heard, true = np.array(heard), np.array(true)
    # Which stems sound is no matter of hearing: a row's text says it.
    silent = true <= LEVEL_FLOOR_DB
    heard[silent] = true[silent] = np.nan
    return heard, true, rows


def _as_measures(levels_db):
    """Give the classifier the one measure that there is in the place of both."""
    import numpy as np

    return np.repeat(levels_db[:, :, None], 2, axis=2)


if __name__ == "__main__":
    main()
