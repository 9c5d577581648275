"""How close answers come to reference answers, as text.

A close text may give the wrong advice: "raise the vocals by 3 to 6 dB" and "lower the vocals by 3
to 6 dB" differ in one word. These measures say how an answer is worded; `grading` says whether it
is right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.grading import song_key
from mixing_buddy.extras import import_extra

#: Measures that need no model.
MODEL_FREE: tuple[str, ...] = ("bleu", "rouge_l", "meteor")

#: Measures that need the path or Hub id of a model.
MODEL_BASED: tuple[str, ...] = ("bert_score", "similarity")

_Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _Measure:
    """How every pair of answer and reference scores.

    Args:
        values: one for each pair.
        perfect: what a text scores against itself (METEOR comes near it only).
        note: what a reader has to know to compare the figure with others.
    """

    values: np.ndarray
    perfect: float
    note: str


def text_metrics(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    which: Sequence[str] = MODEL_FREE,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """Compare answers with references.

    Args:
        answers: one text for each row.
        references: for each row one or more right texts, such as the column `references`.
        which: names of `MODEL_FREE` and `MODEL_BASED`.
        **options: songs, models and seed, as in `compare_systems`.

    Returns:
        What `compare_systems` returns for one system.

    Raises:
        MixingBuddyError: see `compare_systems`.
    """
    return compare_systems({"": answers}, references, which, **options)[""]


def compare_rows(
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    which: Sequence[str] = MODEL_FREE,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """Compare answers with the references of dataset rows, with intervals over songs.

    Args:
        rows: dataset rows (`references`, `response`, `source`, `split`, `song`).
        answers: one text for each.
        which: as in `text_metrics`.
        **options: models and seed, as in `compare_systems`.

    Returns:
        What `text_metrics` returns. A row without references counts with its response.

    Raises:
        MixingBuddyError: see `compare_systems`.
    """
    songs = [song_key(row) for row in rows]
    return text_metrics(answers, row_references(rows), which, songs=songs, **options)


def row_references(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Right texts of dataset rows: the column `references`, or `response` where that is empty."""
    return [list(row.get("references") or [row["response"]]) for row in rows]


def compare_systems(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    which: Sequence[str] = MODEL_FREE,
    *,
    songs: Sequence[Hashable] | None = None,
    bert_score_model: str | os.PathLike[str] | None = None,
    similarity_model: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Compare the answers of several systems with the same references.

    BLEU is sacrebleu's, ROUGE-L rouge_score's F-measure with stemming, METEOR nltk's, BERTScore
    bert-score's F1, similarity the cosine of embeddings by sentence-transformers. Nothing is
    downloaded but a model that is given by Hub id. A pair of texts is scored once, however often
    it comes, and a model is loaded once.

    Args:
        systems: answers by name of the system, one text for each row.
        references: for each row one or more right texts.
        which: names of `MODEL_FREE` and `MODEL_BASED`.
        songs: which song each row is from, for intervals; none without.
        bert_score_model: path or Hub id of a masked language model.
        similarity_model: path or Hub id of a sentence-transformers model.
        seed: what the intervals' resamples are drawn from.

    Returns:
        For each system and measure `best_of` (of a row's references the closest counts) and
        `mean_of` (their mean counts), both means over rows; `best_of_row`, the closest of each
        row; `perfect`, what a text scores against itself; `note`; and with `songs` an `intervals`
        with 95 % intervals of both means. `bleu` has `corpus` as well: counts summed over all
        rows, each row against all its references.

    Raises:
        MixingBuddyError: a library or model is missing, a name is unknown, or lengths differ.
    """
    for answers in systems.values():
        _check(answers, references, which)
    pairs = {
        name: [(a, r) for a, texts in zip(answers, references, strict=True) for r in texts]
        for name, answers in systems.items()
    }
    distinct = list(dict.fromkeys(pair for each in pairs.values() for pair in each))
    place_of = {pair: place for place, pair in enumerate(distinct)}
    places = {name: np.array([place_of[pair] for pair in each]) for name, each in pairs.items()}
    ends = np.cumsum([len(texts) for texts in references])
    bootstrap = None if songs is None else SongBootstrap(songs, seed=seed)
    measures: dict[str, Callable[[], _Measure]] = {
        "bleu": lambda: _bleu(distinct),
        "rouge_l": lambda: _rouge_l(distinct),
        "meteor": lambda: _meteor(distinct),
        "bert_score": lambda: _bert_score(distinct, _model(bert_score_model, "bert_score")),
        "similarity": lambda: _similarity(distinct, _model(similarity_model, "similarity")),
    }
    results: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in systems}
    for measure_name in which:
        measure = measures[measure_name]()
        for name, answers in systems.items():
            result = _over_rows(np.split(measure.values[places[name]], ends[:-1]), bootstrap)
            result |= {"perfect": measure.perfect, "note": measure.note}
            if measure_name == "bleu":
                result["corpus"] = _corpus_bleu(answers, references)
            results[name][measure_name] = result
    return results


def _over_rows(by_row: Sequence[np.ndarray], bootstrap: SongBootstrap | None) -> dict[str, Any]:
    # Sorted, so that not even rounding depends on the order of references.
    rows = {
        "best_of": np.array([values.max() for values in by_row]),
        "mean_of": np.array([np.sort(values).mean() for values in by_row]),
    }
    result: dict[str, Any] = {key: float(np.sort(each).mean()) for key, each in rows.items()}
    result["best_of_row"] = rows["best_of"].tolist()
    if bootstrap is not None:
        ones = np.ones(len(by_row))
        found = {key: bootstrap.interval(each, ones) for key, each in rows.items()}
        result["intervals"] = {key: each and list(each) for key, each in found.items()}
    return result


def _check(
    answers: Sequence[str], references: Sequence[Sequence[str]], which: Sequence[str]
) -> None:
    known = MODEL_FREE + MODEL_BASED
    for name in which:
        if name not in known:
            raise MixingBuddyError(f"No text metric {name!r}: choose of {', '.join(known)}.")
    if len(answers) != len(references):
        raise MixingBuddyError(
            f"{len(answers)} answers and references for {len(references)}: give a list of "
            "references for each answer."
        )
    if not answers:
        raise MixingBuddyError("No answers: text metrics need at least one.")
    for place, texts in enumerate(references):
        if isinstance(texts, str) or not texts:
            raise MixingBuddyError(f"Answer {place}: give a list of one or more references.")


def _model(model: str | os.PathLike[str] | None, name: str) -> str:
    if model is None:
        raise MixingBuddyError(f"{name} needs a model: give {name}_model a folder or a Hub id.")
    return os.fspath(model)


def _watched(pairs: _Pairs, name: str) -> Iterable[tuple[str, str]]:
    """Show a progress bar where it takes more than two seconds."""
    from tqdm.auto import tqdm

    return tqdm(pairs, desc=name, unit="pair", delay=2, leave=False)


def _bleu_scorer():
    # Texts of fewer than four words have no 4-grams: without the effective order they score 0
    # against themselves.
    return import_extra("sacrebleu", "text-metrics").BLEU(effective_order=True)


def _bleu(pairs: _Pairs) -> _Measure:
    scorer = _bleu_scorer()
    found = (scorer.sentence_score(a, [r]).score for a, r in _watched(pairs, "BLEU"))
    scores = [min(score, 100.0) for score in found]
    return _Measure(np.array(scores), 100.0, f"sentence BLEU, sacrebleu {scorer.get_signature()}")


def _corpus_bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    most = max(map(len, references))
    # sacrebleu takes the first reference of every row, then the second: None where there is none.
    columns = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    return min(float(_bleu_scorer().corpus_score(list(answers), columns).score), 100.0)


def _rouge_l(pairs: _Pairs) -> _Measure:
    import_extra("rouge_score", "text-metrics")
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    scores = [
        scorer.score(target=r, prediction=a)["rougeL"].fmeasure
        for a, r in _watched(pairs, "ROUGE-L")
    ]
    note = f"F-measure, Porter stems, rouge_score {version('rouge_score')}"
    return _Measure(np.array(scores), 1.0, note)


class _NoSynonyms:
    """Stands in for WordNet where its data are missing: no word has synonyms."""

    def synsets(self, word: str) -> list:
        return []


def _meteor(pairs: _Pairs) -> _Measure:
    nltk = import_extra("nltk", "text-metrics")
    from nltk.tokenize import wordpunct_tokenize as words
    from nltk.translate.meteor_score import single_meteor_score

    try:
        nltk.data.find("corpora/wordnet")
    except LookupError:
        wordnet, note = _NoSynonyms(), "exact and stem matching only"
    else:
        from nltk.corpus import wordnet

        note = "exact, stem and WordNet synonym matching"
    scores = [
        single_meteor_score(words(r), words(a), wordnet=wordnet)
        for a, r in _watched(pairs, "METEOR")
    ]
    return _Measure(np.array(scores), 1.0, f"{note}, nltk {version('nltk')}")


def _bert_score(pairs: _Pairs, model: str) -> _Measure:
    library = import_extra("bert_score", "text-models")
    from bert_score.utils import model2layers

    layers = model2layers.get(model)
    if layers is None:
        from transformers import AutoConfig

        layers = _load(lambda: AutoConfig.from_pretrained(model), model).num_hidden_layers
    scorer = _load(lambda: library.BERTScorer(model_type=model, num_layers=layers), model)
    answers, references = (list(side) for side in zip(*pairs, strict=True))
    _, _, f1 = scorer.score(answers, references)
    note = f"F1, layer {layers} of {os.path.basename(model)}, bert-score {version('bert-score')}"
    return _Measure(f1.double().numpy(), 1.0, note)


def _similarity(pairs: _Pairs, model: str) -> _Measure:
    library = import_extra("sentence_transformers", "text-models")
    encoder = _load(lambda: library.SentenceTransformer(model), model)
    texts = sorted({text for pair in pairs for text in pair})
    vectors = encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    place_of = {text: place for place, text in enumerate(texts)}
    sides = (np.array(vectors[[place_of[p[i]] for p in pairs]], dtype=float) for i in (0, 1))
    cosines = np.clip(np.prod(list(sides), axis=0).sum(axis=1), -1.0, 1.0)
    library_version = version("sentence-transformers")
    note = f"cosine, {os.path.basename(model)}, sentence-transformers {library_version}"
    return _Measure(cosines, 1.0, note)


def _load(load: Callable[[], Any], model: str) -> Any:
    try:
        return load()
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MixingBuddyError(f"{model} can't be loaded: {reason}") from error
