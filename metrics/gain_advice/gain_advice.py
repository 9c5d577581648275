"""Gain advice accuracy as a metric of the library `evaluate`.

In the repository this wraps the installed package. `mixing_buddy.evaluation.metric_export` writes
the folder that goes to the Hub, which needs no package.
"""

# evaluate's reader of imports wants `import datasets` and `import evaluate` on lines of their own.
import datasets
import evaluate

from mixing_buddy.advice import parse_advice
from mixing_buddy.evaluation.grading import mix_key, song_key, summarise_advice
from mixing_buddy.evaluation.published import summarise_published
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.stems import ADVISED_STEMS

_CITATION = ""

_DESCRIPTION = """\
How often gain-balance advice on a music mix is right: which stem is off (bass, drums, vocals), in
which direction, and by how much. Answers are free text. Balanced mixes, where the right answer is
that nothing is to be changed, count too.
"""

_INPUTS = """\
Args:
    predictions (`list` of `str`): answers in free words.
    references (`list` of `dict`): the truth for each, as `metric.references(rows)` makes it of
        dataset rows: `category` (very_quiet, quiet, no_error, loud, very_loud), `target`, `anchor`,
        `direction` (raise, lower, none), `min_db`, `max_db` (None on a balanced mix), `song` (its
        name, for intervals) and `mix` (alike for rows with the same sound).
    flavour (`str`): "mixing_buddy" (default), or "published" for the rules of the first published
        system, fault included, to compare with its figures.
    num_resamples (`int`): how many sets of songs the intervals are made from. Default: 2000.
    seed (`int`): what these sets are drawn from. Default: 0.

Returns:
    `joint` (stem and direction both right), `stem`, `direction`, `magnitude`,
    `magnitude_given_joint`, `understood`, `error_detection` (precision, recall, f1),
    `distinct_mixes` (the same where each distinct mix counts once), `by` (category, target, anchor,
    direction, song), `intervals` (95 %, by bootstrap over songs), `num_rows`, `num_mixes`,
    `num_songs`. The published flavour: `joint`, `stem`, `direction`, `magnitude`.

Examples:
    >>> metric = evaluate.load("mixingbuddy/gain_advice")
    >>> truth = {"category": "loud", "target": "bass", "anchor": "drums", "direction": "lower",
    ...          "min_db": 3.0, "max_db": 6.0, "song": "A", "mix": "A/0"}
    >>> answers = ["Turn the bass down by 3 to 6 dB."]
    >>> metric.compute(predictions=answers, references=[truth])["joint"]
    1.0
"""

_LABELS = {
    "category": [str(category) for category in Category],
    "direction": [str(direction) for direction in Direction],
    "target": list(ADVISED_STEMS),
    "anchor": list(ADVISED_STEMS),
}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class GainAdvice(evaluate.Metric):
    """Gain advice accuracy; see the description."""

    def _info(self):
        text = datasets.Value("string")
        number = datasets.Value("float32")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": text,
                    "references": {
                        "category": text,
                        "target": text,
                        "anchor": text,
                        "direction": text,
                        "min_db": number,
                        "max_db": number,
                        "song": text,
                        "mix": text,
                    },
                }
            ),
        )

    def references(self, rows):
        """Make references of the rows of one of our datasets.

        Args:
            rows: dataset rows, with names or with the numbers of labelled columns.
        """
        references = []
        for row in rows:
            named = {
                name: names[row[name]] if isinstance(row[name], int) else row[name]
                for name, names in _LABELS.items()
            }
            places = {"song": song_key(row), "mix": mix_key(row)}
            references.append(named | {k: row[k] for k in ("min_db", "max_db")} | places)
        return references

    def _compute(self, predictions, references, flavour="mixing_buddy", num_resamples=2000, seed=0):
        if flavour == "published":
            return summarise_published(references, predictions)
        if flavour != "mixing_buddy":
            raise ValueError(f"Unknown flavour {flavour!r}: it must be mixing_buddy or published.")
        return summarise_advice(
            references,
            [parse_advice(prediction) for prediction in predictions],
            songs=[reference["song"] for reference in references],
            mixes=[reference["mix"] for reference in references],
            num_resamples=num_resamples,
            seed=seed,
        )
