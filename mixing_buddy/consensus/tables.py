"""Tables of consensus, written and read, and how this package reads any table strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mixing_buddy.consensus.estimate import ANCHORS, Consensus, ConsensusError, StemConsensus
from mixing_buddy.stems import STEMS

CONSENSUS_COLUMNS = (
    "song",
    "anchor",
    "quantity",
    "stem",
    "gain_db",
    "low_db",
    "high_db",
    "num_engineers",
    "outliers",
)


def write_consensus(agreed: Iterable[Consensus], path: str | Path) -> None:
    """Write consensus as a table, one row a song, anchor and stem.

    Args:
        agreed: consensus of any songs and anchors.
        path: ``.csv`` or ``.parquet`` file with `CONSENSUS_COLUMNS`; `outliers` is a JSON list.
    """
    path = Path(path)
    table = pd.DataFrame(
        [
            {
                "song": one.song,
                "anchor": one.anchor,
                "quantity": one.quantity,
                "stem": stem,
                "gain_db": stem_consensus.gain_db,
                "low_db": stem_consensus.low_db,
                "high_db": stem_consensus.high_db,
                "num_engineers": stem_consensus.num_engineers,
                "outliers": json.dumps(one.outliers, ensure_ascii=False),
            }
            for one in agreed
            for stem, stem_consensus in one.stems.items()
        ],
        columns=list(CONSENSUS_COLUMNS),
    ).astype({"gain_db": float, "low_db": float, "high_db": float, "num_engineers": int})
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)


def read_consensus(path: str | Path) -> dict[tuple[str, str], Consensus]:
    """Read a table that `write_consensus` wrote.

    Returns:
        Consensus by song and anchor.

    Raises:
        ConsensusError: missing columns, an unknown stem, anchor or quantity, or something that is
            no number.
    """
    table = read_table(path, CONSENSUS_COLUMNS)
    require_text(table, ("song", "anchor", "quantity", "stem"), path)
    table["gain_db"] = numbers(table, "gain_db", path)
    table["num_engineers"] = numbers(table, "num_engineers", path)
    found = {}
    for (song, anchor), rows in table.groupby(["song", "anchor"], sort=False):
        first = rows.iloc[0]
        if anchor not in ANCHORS or first["quantity"] not in ("gain", "level"):
            raise ConsensusError(
                f"{path}, {rows.index[0]}: unknown anchor {anchor!r} or quantity "
                f"{first['quantity']!r}."
            )
        stems = {}
        for place, row in rows.iterrows():
            if row["stem"] not in STEMS or row["stem"] in stems:
                raise ConsensusError(
                    f"{path}, {place}: {row['stem']!r} is no stem, or there twice."
                )
            low, high = (
                _optional_number(row[c], f"{path}, {place}: {c}") for c in ("low_db", "high_db")
            )
            stems[row["stem"]] = StemConsensus(
                float(row["gain_db"]), low, high, int(row["num_engineers"])
            )
        try:
            outliers = tuple(json.loads(first["outliers"]))
        except (TypeError, json.JSONDecodeError) as error:
            raise ConsensusError(
                f"{path}, {rows.index[0]}: outliers is no JSON list: {first['outliers']!r}."
            ) from error
        found[song, anchor] = Consensus(song, anchor, first["quantity"], stems, outliers)
    return found


def _optional_number(value: object, where: str) -> float | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConsensusError(f"{where} is '{value}', neither empty nor a finite number.")
    return number


def read_table(path: str | Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read one table, or all below a folder.

    Args:
        path: CSV or Parquet file, or a folder with some, however deep.
        columns: columns to take.

    Returns:
        Those columns, CSV values as text; the index says where each row stands, for messages.

    Raises:
        ConsensusError: no such file, not a table, a column is missing, or there are no rows.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in (".csv", ".parquet"))
    # A pipe would be waited for, and a device read for ever.
    if not files or not all(file.is_file() for file in files):
        raise ConsensusError(f"{path}: there is no such CSV or Parquet file or folder of some.")
    tables = []
    for file in files:
        try:
            if file.suffix == ".parquet":
                table, first = pd.read_parquet(file), 1
            else:
                table, first = pd.read_csv(file, dtype=str, keep_default_na=False), 2
        except (ValueError, OSError) as error:
            raise ConsensusError(f"{file}: can't be read as a table: {error}") from error
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise ConsensusError(
                f"{file}: there is no column {', '.join(missing)}; it has "
                f"{', '.join(map(str, table.columns))}."
            )
        word = "row" if file.suffix == ".parquet" else "line"
        name = f"{file.relative_to(path)}, " if path.is_dir() else ""
        table.index = [f"{name}{word} {number + first}" for number in range(len(table))]
        tables.append(table[list(columns)])
    table = pd.concat(tables)
    if table.empty:
        raise ConsensusError(f"{path}: there are no rows.")
    return table


def require_text(table: pd.DataFrame, columns: Iterable[str], path: str | Path) -> None:
    """Raise a `ConsensusError` unless every value of some columns of `path` is a text."""
    for column in columns:
        for place, value in table[column].items():
            if not isinstance(value, str) or not value.strip():
                raise ConsensusError(f"{path}, {place}: {column} is empty or no text: {value!r}.")


def numbers(table: pd.DataFrame, column: str, path: str | Path) -> list[float]:
    """Take a column of `path` as finite numbers, or raise a `ConsensusError`."""
    values = pd.to_numeric(table[column], errors="coerce").astype(float)
    for place, number in values.items():
        if not math.isfinite(number):
            raise ConsensusError(
                f"{path}, {place}: {column} is '{table[column][place]}', not a finite number."
            )
    return list(values)
