"""Text metrics: a text is nearest to itself, and no order matters."""

import importlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation import text_metrics as module
from mixing_buddy.evaluation.text_metrics import (
    MODEL_FREE,
    compare_rows,
    compare_systems,
    row_references,
    text_metrics,
)

for library in ("sacrebleu", "rouge_score", "nltk"):
    pytest.importorskip(library)

RIGHT = "Next to the bass, the vocals are buried. Raise the vocals by 3 to 6 dB."
OTHER = "Set against the bass, the singer gets lost. Push the vocals up 3 to 6 dB."
FAR = "Everything sits well together and nothing has to change."
WORDS = ("raise", "lower", "the", "vocals", "drums", "bass", "by", "3", "6", "dB", "sits", "well")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


def test_a_text_scores_all_against_itself():
    answers = [RIGHT, FAR, "Fine."]
    found = text_metrics(answers, [[text] for text in answers])
    assert found["bleu"]["best_of"] == found["bleu"]["perfect"] == pytest.approx(100)
    assert found["bleu"]["corpus"] == pytest.approx(100)
    assert found["rouge_l"]["mean_of"] == found["rouge_l"]["perfect"] == 1


def test_meteor_of_a_text_against_itself_lacks_its_penalty_for_one_chunk_only():
    # By its definition: 1 - 0.5 (chunks / matches)^3.
    found = text_metrics(["raise the vocals now"], [["raise the vocals now"]], ["meteor"])["meteor"]
    assert found["best_of"] == pytest.approx(1 - 0.5 * (1 / 4) ** 3)


def test_nearer_texts_score_higher():
    references = [[RIGHT, OTHER]]
    near, far = (text_metrics([text], references) for text in (RIGHT, FAR))
    for name in MODEL_FREE:
        assert near[name]["best_of"] > far[name]["best_of"]
        assert near[name]["mean_of"] > far[name]["mean_of"]


def test_an_empty_answer_scores_nothing():
    for name, found in text_metrics([""], [[RIGHT]]).items():
        assert found["best_of"] == 0, name


@settings(max_examples=40)
@given(data=st.data(), rows=st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=4))))
def test_best_of_is_never_below_mean_of_and_no_order_matters(data, rows):
    rows = rows or [(RIGHT, [OTHER])]
    answers, references = zip(*rows, strict=True)
    found = text_metrics(answers, references)
    for name in MODEL_FREE:
        assert 0 <= found[name]["mean_of"] <= found[name]["best_of"] + 1e-9
        assert found[name]["best_of"] <= found[name]["perfect"]
    turned = data.draw(st.permutations(rows))
    answers, references = zip(*((a, r[::-1]) for a, r in turned), strict=True)
    again = text_metrics(answers, references)
    for name in MODEL_FREE:
        for key in ("best_of", "mean_of"):
            assert again[name][key] == pytest.approx(found[name][key], rel=1e-12)


def test_one_reference_makes_best_and_mean_equal():
    for found in text_metrics([RIGHT, FAR], [[OTHER], [RIGHT]]).values():
        assert found["best_of"] == found["mean_of"]


def test_intervals_are_over_songs():
    answers, references = [RIGHT, FAR, OTHER, FAR], [[RIGHT], [RIGHT], [RIGHT], [FAR]]
    found = text_metrics(answers, references, ["rouge_l"], songs=["a", "a", "b", "b"])["rouge_l"]
    low, high = found["intervals"]["best_of"]
    assert low <= found["best_of"] <= high
    one = text_metrics(answers, references, ["rouge_l"], songs=["a"] * 4)["rouge_l"]
    assert one["intervals"]["mean_of"] is None


def test_rows_bring_their_references_and_songs():
    place = {"source": "s", "split": "test"}
    rows = [
        {
            "references": [RIGHT, OTHER],
            "response": FAR,
            "source": "s",
            "split": "test",
            "song": "a",
        },
        {"references": [], "response": FAR, "song": "b"} | place,
    ]
    found = compare_rows(rows, [RIGHT, FAR], ["rouge_l"])["rouge_l"]
    assert found["best_of"] == 1 > found["mean_of"]
    assert found["intervals"]["best_of"] == [1, 1]


def test_rows_without_references_have_their_response():
    rows = [{"references": [RIGHT, OTHER]}, {"references": []}, {"references": None}, {}]
    found = row_references([{"response": FAR, **row} for row in rows])
    assert found == [[RIGHT, OTHER], [FAR], [FAR], [FAR]]


def test_systems_score_together_as_they_do_alone():
    systems = {"one": [RIGHT, FAR, OTHER], "other": [OTHER, FAR, ""]}
    references = [[RIGHT, OTHER], [RIGHT], [FAR, OTHER]]
    found = compare_systems(systems, references, songs=["a", "b", "c"])
    for name, answers in systems.items():
        assert found[name] == text_metrics(answers, references, songs=["a", "b", "c"])
        for sums in found[name].values():
            assert sum(sums["best_of_row"]) == pytest.approx(3 * sums["best_of"])


def test_meteor_says_what_it_matches_by():
    note = text_metrics([RIGHT], [[OTHER]], ["meteor"])["meteor"]["note"]
    import nltk

    try:
        nltk.data.find("corpora/wordnet")
    except LookupError:
        assert note.startswith("exact and stem matching only, nltk ")
    else:
        assert "WordNet" in note


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([RIGHT], [[RIGHT]], ["blue"]), "choose of bleu"),
        (([RIGHT], [[RIGHT], [OTHER]]), "1 answers and references for 2"),
        (([RIGHT], [[]]), "one or more references"),
        (([RIGHT], [RIGHT]), "list of one or more"),
        (([], []), "at least one"),
        (([RIGHT], [[RIGHT]], ["bert_score"]), "bert_score_model"),
        (([RIGHT], [[RIGHT]], ["similarity"]), "similarity_model"),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    with pytest.raises(MixingBuddyError, match=message):
        text_metrics(*arguments)


def test_a_missing_library_names_its_extra(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MixingBuddyError, match=r"pip install .mixing-buddy\[text-metrics\]"):
        text_metrics([RIGHT], [[RIGHT]], ["bleu"])
    with pytest.raises(MixingBuddyError, match=r"mixing-buddy\[text-models\]"):
        text_metrics([RIGHT], [[RIGHT]], ["similarity"], similarity_model="anything")


def test_importing_loads_no_library_of_metrics():
    code = (
        f"import sys, {module.__name__}; "
        "assert not {'nltk', 'sacrebleu', 'bert_score', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """A BERT of random weights that knows the words of the texts above."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = sorted({w for t in (RIGHT, OTHER, FAR) for w in t.lower().replace(".", " .").split()})
    words = [word.strip(",") for word in words]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *dict.fromkeys(words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(
        vocab={word: place for place, word in enumerate(vocabulary)}, model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).eval().save_pretrained(folder)
    return folder


def test_bert_score_by_a_local_model(tiny_bert):
    pytest.importorskip("bert_score")
    found = text_metrics(
        [RIGHT, RIGHT], [[RIGHT], [FAR, RIGHT]], ["bert_score"], bert_score_model=tiny_bert
    )["bert_score"]
    assert found["best_of"] == pytest.approx(1, abs=1e-5)
    assert found["mean_of"] < found["best_of"] - 1e-4


def test_similarity_by_a_local_model(tiny_bert, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(tiny_bert), device="cpu")
    model.save(str(tmp_path / "sentences"))
    found = text_metrics(
        [RIGHT, RIGHT],
        [[RIGHT], [FAR, RIGHT]],
        ["similarity"],
        similarity_model=tmp_path / "sentences",
    )["similarity"]
    assert found["best_of"] == pytest.approx(1, abs=1e-5)
    assert found["mean_of"] < found["best_of"] - 1e-4


def test_a_model_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(MixingBuddyError, match="can't be loaded"):
        text_metrics([RIGHT], [[RIGHT]], ["similarity"], similarity_model=tmp_path)
