"""Keep the preference pairs whose answers give no musical reason.

```bash
python benchmarks/pairs_without_reasons.py DATASET OUT
```

For a model that never learnt to give reasons, as nano at version 0.1: of the log-probability of an
answer with a reason, nearly all is the surprise at the reason.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import yaml
from datasets import get_dataset_split_names

from mixing_buddy.rows import open_rows
from mixing_buddy.template_pools import load


def texts_in(pool) -> Iterator[str]:
    """Yield every text of a pool of templates, however nested."""
    if isinstance(pool, str):
        yield pool
    else:
        for part in pool.values() if isinstance(pool, dict) else pool:
            yield from texts_in(part)


def main() -> None:
    """Write the pairs of each split, and say how many are left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", help="Folder that `mixing-buddy build --mode preference` wrote.")
    parser.add_argument("out", type=Path, help="Folder to write.")
    args = parser.parse_args()
    reasons = tuple(texts_in(load("reasons")))
    files = []
    for split in get_dataset_split_names(args.dataset, "preference"):
        rows = open_rows(args.dataset, "preference", split)
        pairs = zip(rows["chosen"][:], rows["rejected"][:], strict=True)
        kept = [
            index
            for index, answers in enumerate(pairs)
            if not any(answer.endswith(reasons) for answer in answers)
        ]
        path = args.out / "preference" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.select(kept).to_parquet(str(path))
        files.append({"split": split, "path": f"preference/{split}.parquet"})
        print(f"{split}: {len(kept)} of {len(rows)} pairs")
    configs = [{"config_name": "preference", "data_files": files}]
    card = yaml.safe_dump({"configs": configs}, sort_keys=False)
    (args.out / "README.md").write_text(f"---\n{card}---\n", encoding="utf-8")


if __name__ == "__main__":
    main()
