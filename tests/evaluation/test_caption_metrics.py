"""Caption metrics: equality with pycocoevalcap, invariances, bad input."""

import os
import random
import shutil
import sys

import numpy as np
import pytest

from lavis.common.errors import ConfigError, DependencyError, EvaluationError
from lavis.evaluation.captioning import BLEU_NAMES, caption_scores
from lavis.evaluation.java_metrics import PTB_NAME, meteor, ptb_tokenize
from lavis.evaluation.ngrams import build_corpus, diversity
from lavis.evaluation.rouge import longest_common_subsequence
from lavis.evaluation.tokenization import tokenize_caption

METEOR_CORPUS = 0.20222820392502888
METEOR_ITEMS = [0.4155676773125241, 0.0, 0.11483253588516747]


def random_corpus(seed, n_items=120, n_words=40, shortest=1):
    """Captions and 1-3 references over a small skewed vocabulary, so that n-grams repeat."""
    generator = random.Random(seed)

    def sentence():
        length = generator.randint(shortest, 14)
        return " ".join(f"w{int(n_words * generator.random() ** 3)}" for _ in range(length))

    predictions = {f"id{k}": sentence() for k in range(n_items)}
    references = {i: [sentence() for _ in range(generator.randint(1, 3))] for i in predictions}
    for i in list(predictions)[::4]:  # some captions share long stretches with a reference
        predictions[i] = references[i][0] + " w1"
    return predictions, references


def score_words(predictions, references, **options):
    return caption_scores(
        predictions, references, tokenize=str.split, tokenizer_name="split", **options
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bleu_rouge_and_cider_equal_pycocoevalcap(seed):
    predictions, references = random_corpus(seed)
    predictions["id3"] = ""
    scores = score_words(predictions, references)
    library = score_words(predictions, references, scorer="pycocoevalcap")
    for name in (*BLEU_NAMES, "rouge_l", "cider"):
        assert scores.values[name] == pytest.approx(library.values[name], abs=1e-6)
        assert scores.per_item[name] is not library.per_item[name]
        np.testing.assert_allclose(scores.per_item[name], library.per_item[name], atol=1e-6)
    assert scores.values["cider"] > 0.5


def test_the_scorer_is_the_library_of_that_name():
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    predictions, references = random_corpus(1)
    scores = score_words(predictions, references, scorer="pycocoevalcap")
    wrapped = {i: [caption] for i, caption in predictions.items()}
    value, items = cider.Cider().compute_score(references, wrapped)
    assert scores.values["cider"] == value
    assert scores.per_item["cider"].tolist() == items.tolist()
    assert scores.metrics(n_resamples=50)["cider"]["ci95"][0] < value


def test_an_unknown_scorer_names_the_key():
    with pytest.raises(ConfigError, match=r"run\.caption_scorer[\s\S]*pycocoevalcap"):
        caption_scores({1: "a"}, {1: ["a"]}, scorer="coco")


@pytest.mark.parametrize("captions", [["a b c"], ["a", "b"], ["", ""]])
def test_tiny_corpora_equal_pycocoevalcap(captions):
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu")
    predictions = dict(enumerate(captions))
    references = {i: ["a b"] for i in predictions}
    scores = score_words(predictions, references)
    wrapped = {i: [caption] for i, caption in predictions.items()}
    # pycocoevalcap writes 0 where every idf is 0; here CIDEr has no value.
    assert cider.Cider().compute_score(references, wrapped)[0] == 0
    assert scores.values["cider"] is None
    assert "idf" in scores.unavailable["cider"]
    corpus, _ = bleu.Bleu(4).compute_score(references, wrapped, verbose=0)
    np.testing.assert_allclose([scores.values[n] for n in BLEU_NAMES], corpus, atol=1e-9)


def test_order_of_items_changes_no_metric():
    predictions, references = random_corpus(5)
    first = score_words(predictions, references)
    ids = list(predictions)
    random.Random(1).shuffle(ids)
    second = score_words(
        {i: predictions[i] for i in reversed(ids)}, {i: references[i] for i in ids}
    )
    assert second.ids == ids
    for name, entry in first.metrics(n_resamples=50).items():
        other = second.metrics(n_resamples=50)[name]
        assert other["value"] == (entry["value"] and pytest.approx(entry["value"], abs=1e-12))
        if entry["ci95"]:
            assert other["ci95"] == pytest.approx(entry["ci95"], abs=1e-12)


def test_perfect_predictions_score_the_maximum():
    references = {i: [group[0]] for i, group in random_corpus(3, shortest=5)[1].items()}
    scores = caption_scores({i: group[0] for i, group in references.items()}, references)
    for name in (*BLEU_NAMES, "rouge_l"):
        assert scores.values[name] == pytest.approx(1.0, abs=1e-6)
    assert scores.values["cider"] == pytest.approx(10.0, abs=1e-6)


def test_empty_predictions_score_zero_and_are_counted():
    scores = caption_scores(
        {1: "", 2: "  .", 3: "red brick"}, {k: ["red brick"] for k in (1, 2, 3)}
    )
    assert scores.n_empty == 2
    assert scores.n_scored == 3
    assert scores.per_item["rouge_l"].tolist() == [0.0, 0.0, pytest.approx(1.0)]
    assert scores.per_item["bleu_1"][:2].max() < 1e-6


def test_metrics_have_intervals_and_name_what_is_unavailable():
    scores = caption_scores(*random_corpus(4))
    metrics = scores.metrics(n_resamples=200)
    assert metrics["meteor"] == {"value": None, "ci95": None}
    assert "Java" in scores.unavailable["meteor"]
    assert scores.tokenizer == "simple-ptb"
    for name in (*BLEU_NAMES, "rouge_l", "cider", "mean_length"):
        low, high = metrics[name]["ci95"]
        assert low <= metrics[name]["value"] <= high
        assert low < high


def test_diversity_counts_distinct_captions_and_ngrams():
    words = [["a", "b", "a"], ["a", "b", "a"], ["c"], []]
    result = diversity(build_corpus(words, [[["x", "y"]]] * 4))
    assert result["distinct_captions"] == 3
    assert result["distinct_1"] == pytest.approx(3 / 7)
    assert result["distinct_2"] == pytest.approx(2 / 4)
    assert result["mean_length"] == pytest.approx(7 / 4)


@pytest.mark.parametrize(
    ("captions", "undefined"),
    [
        (["", " . "], ["distinct_1", "distinct_2"]),
        (["brick", "slope"], ["distinct_2"]),
        (["", "a brick"], []),
    ],
)
def test_distinct_n_without_an_ngram_is_null_with_the_reason(captions, undefined):
    references = {0: ["a red brick"], 1: ["a slope"]}
    scores = caption_scores(dict(enumerate(captions)), references)
    names = ("distinct_1", "distinct_2")
    assert [name for name in names if scores.values[name] is None] == undefined
    for name in names:
        assert (name in scores.unavailable) == (name in undefined)
        assert scores.metrics(n_resamples=10)[name] == {"value": scores.values[name], "ci95": None}


@pytest.mark.parametrize(
    ("predictions", "references", "named"),
    [
        ({"a": "x"}, {"a": ["x"], "b7": ["y"]}, "1 missing: 'b7'"),
        ({"a": "x", "z9": "y"}, {"a": ["x"]}, "1 unexpected: 'z9'"),
        ({3001: "x"}, {"3001": ["x"]}, "3001"),
        ({"a": "x"}, {"a": []}, "'a'"),
        ({"a": "x"}, {"a": ["ok", " "]}, "'a'"),
        ({"a": "x"}, {"a": "not a list"}, "'a'"),
        ({"a": None}, {"a": ["x"]}, "'a'"),
        ({}, {}, "no captions"),
    ],
)
def test_bad_input_is_refused_by_name(predictions, references, named):
    with pytest.raises(EvaluationError, match=named):
        caption_scores(predictions, references)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A Brick, 2 x 4 (left-handed).", "a brick 2 x 4 left-handed"),
        ("It’s 1.5 wide; isn't 1/2!", "it 's 1.5 wide is n't 1/2"),
        ("a 3D–model  [2×4]", "a 3d model 2 × 4"),
        (" ... ", ""),
    ],
)
def test_tokenizer_lowers_splits_contractions_and_drops_punctuation(caption, words):
    assert " ".join(tokenize_caption(caption)) == words


def test_bit_parallel_subsequence_equals_dynamic_programming():
    generator = random.Random(0)
    for _ in range(50):
        first, second = (generator.choices("abcd", k=generator.randint(0, 70)) for _ in range(2))
        table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, a in enumerate(first, 1):
            for j, b in enumerate(second, 1):
                longer = max(table[i - 1][j], table[i][j - 1])
                table[i][j] = table[i - 1][j - 1] + 1 if a == b else longer
        assert longest_common_subsequence(first, second) == table[-1][-1]


def test_long_captions_leave_the_machine_word():
    words = [f"w{k % 40}" for k in range(150)]
    shuffled = words[:60] + words[90:] + words[60:90]
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge")
    for length in (62, 63, 64, 65, 150):
        hypothesis, reference = " ".join(shuffled[:length]), " ".join(words[:length])
        scores = score_words({0: hypothesis}, {0: [reference, "w1 w2"]})
        expected, _ = rouge.Rouge().compute_score({0: [reference, "w1 w2"]}, {0: [hypothesis]})
        assert scores.values["rouge_l"] == pytest.approx(expected, abs=1e-9)


PREDICTIONS = {1: "A 3d brick (2 x 4), it's red!", 2: "", 3: "a cat's plate\n with holes"}
REFERENCES = {i: ["A red brick, 2 x 4", "the hole-y plate"] for i in PREDICTIONS}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_stanford_tokens_equal_pycocoevalcap():
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    entries = {i: [{"caption": text}] for i, text in PREDICTIONS.items()}
    expected = tokenizer.PTBTokenizer().tokenize(entries)
    assert ptb_tokenize(list(PREDICTIONS.values())) == [expected[i][0].split() for i in PREDICTIONS]


@pytest.mark.skipif("TEST_METEOR" not in os.environ, reason="Java takes a minute; TEST_METEOR=1")
def test_meteor_equals_pycocoevalcap():
    """Expected values were computed once by pycocoevalcap 1.2."""
    scores = caption_scores(PREDICTIONS, REFERENCES, tokenizer_name=PTB_NAME, java_metrics=True)
    assert scores.values["meteor"] == pytest.approx(METEOR_CORPUS, abs=1e-9)
    np.testing.assert_allclose(scores.per_item["meteor"], METEOR_ITEMS, atol=1e-9)
    assert scores.tokenizer == PTB_NAME
    assert "meteor" not in scores.unavailable


FAKE_JAVA = """#!{python}
import sys
for line in sys.stdin:
    kind, *parts = line.strip().split(" ||| ")
    if kind == "SCORE":
        print(len(parts[-1].split()), flush=True)
    else:
        print("\\n".join(part + "e-1" for part in parts), "0.5", sep="\\n", flush=True)
"""


def test_meteor_is_asked_once_per_caption_and_scored_as_a_corpus(monkeypatch, tmp_path):
    pytest.importorskip("pycocoevalcap")
    java = tmp_path / "java"
    java.write_text(FAKE_JAVA.format(python=sys.executable))
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    corpus, items = meteor([["a", "|||b"], ["c"]], [[["a"]], [["b"], ["c", "d"]]])
    assert corpus == 0.5
    assert items.tolist() == pytest.approx([0.2, 0.1])


def test_without_java_the_reason_is_recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    scores = caption_scores({1: "a"}, {1: ["a"]}, java_metrics=True)
    assert scores.values["meteor"] is None
    assert "Java is not installed" in scores.unavailable["spice"]
    with pytest.raises(DependencyError, match="Java"):
        caption_scores({1: "a"}, {1: ["a"]}, tokenizer_name=PTB_NAME)


@pytest.mark.parametrize("scorer", ["fast", "pycocoevalcap"])
@pytest.mark.parametrize(
    ("references", "is_defined"),
    [
        ({0: ["a red chair"]}, False),
        ({0: ["a", "b c"]}, False),
        ({0: ["a lamp"], 1: ["a lamp"], 2: ["a lamp"]}, False),
        ({0: ["a lamp"], 1: ["a lamp on"]}, True),
    ],
)
def test_cider_without_idf_is_null_with_a_reason(references, is_defined, scorer) -> None:
    pytest.importorskip("pycocoevalcap")
    scores = caption_scores(
        {i: group[0] for i, group in references.items()}, references, scorer=scorer
    )
    entry = scores.metrics(n_resamples=10)["cider"]
    assert (entry["value"] is not None) == is_defined
    assert (entry["ci95"] is not None) == is_defined
    assert ("cider" in scores.per_item) == is_defined
    assert ("cider" in scores.unavailable) == (not is_defined)
