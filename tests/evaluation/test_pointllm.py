"""The PointLLM protocol: sentence-level scores, files, similarity, converted ground truth."""

import json

import numpy as np
import pytest

from lavis.common.errors import ConfigError, EvaluationError
from lavis.evaluation.pointllm import (
    PROMPTS,
    Prediction,
    main,
    protocol_metrics,
    read_ground_truth,
    read_predictions,
)
from lavis.evaluation.sentence_encoders import SentenceEncoder, pair_similarity
from lavis.evaluation.sentence_metrics import sentence_bleu, sentence_rouge

# Computed once by nltk 3.9 (method 1) and rouge 1.0.1; 3000 random pairs agreed to 6e-17.
REFERENCE = "This is a red brick. It has two studs."
HYPOTHESIS = "a red 3D brick with two studs.  It is . small"
BLEU = {
    "bleu_1": 0.5454545454545454,
    "bleu_2": 0.33028912953790823,
    "bleu_3": 0.10903607180699514,
    "bleu_4": 0.06238986072117501,
}
ROUGE = {
    "rouge_1": 0.7368421002770082,
    "rouge_2": 0.23529411266435996,
    "rouge_l": 0.7368421002770082,
}


def test_sentence_scores_equal_nltk_and_rouge():
    assert sentence_bleu(REFERENCE, HYPOTHESIS) == pytest.approx(BLEU, abs=1e-12)
    assert sentence_rouge(REFERENCE, HYPOTHESIS) == pytest.approx(ROUGE, abs=1e-12)


def test_perfect_scores_one_and_nothing_in_common_zero():
    perfect = sentence_bleu(REFERENCE, REFERENCE) | sentence_rouge(REFERENCE, REFERENCE)
    assert all(value == pytest.approx(1.0, abs=1e-7) for value in perfect.values())
    nothing = sentence_bleu("a b", "##") | sentence_rouge("a b", "##")
    assert set(nothing.values()) == {0.0}
    assert sentence_rouge("a", "...")["rouge_l"] == 0.0


def items():
    return [
        Prediction("u1", "a red brick", "a red brick"),
        Prediction("u2", "a blue plate", ""),
        Prediction("u3", "a chair with four legs", "a seat on 4 legs"),
    ]


def test_metrics_name_the_encoder_and_what_is_missing(tiny_bert):
    encoder = SentenceEncoder(tiny_bert)
    metrics, per_item, missing = protocol_metrics(items(), [encoder])
    similarity = metrics[f"pointllm/similarity/{encoder.label}"]
    assert similarity["ci95"][0] <= similarity["value"] <= similarity["ci95"][1]
    assert per_item[f"pointllm/similarity/{encoder.label}"][0] == pytest.approx(1.0, abs=1e-5)
    assert per_item["pointllm/bleu_1"].tolist()[:2] == [pytest.approx(1.0), 0.0]
    assert metrics["pointllm/meteor"]["value"] is None or "pointllm/meteor" not in missing


def test_built_in_encoder_knows_that_a_seat_is_nearer_to_a_chair_than_a_plate():
    encode = SentenceEncoder("minilm")
    near, far = pair_similarity(encode, ["a chair", "a chair"], ["a seat", "a dinner plate"])
    assert near > far + 0.1
    assert encode(["a chair", "x", "a chair"]).shape == (3, 384)
    np.testing.assert_array_equal(*encode(["a chair", "a chair"]))


def test_pooling_is_read_or_given(tiny_bert, tmp_path):
    mean, cls = SentenceEncoder(tiny_bert), SentenceEncoder(f"{tiny_bert}@cls")
    assert (mean.teacher.pooling, cls.teacher.pooling) == ("mean", "cls")
    assert cls.label.endswith("@cls")
    assert np.abs(mean(["a red brick"]) - cls(["a red brick"])).max() > 1e-3
    assert SentenceEncoder(f"{tiny_bert}@pooler")(["a"]).shape == (1, 32)
    with pytest.raises(ConfigError, match="pooler"):
        SentenceEncoder(f"{tiny_bert}@pool")


def test_both_layouts_of_predictions_are_read(tmp_path, write_json):
    theirs = {"prompt": PROMPTS[2], "results": [ROW | {"label_name": "chair"}]}
    assert read_predictions(write_json(tmp_path / "a.json", theirs)) == [
        Prediction("u", "a", "b", "chair")
    ]
    ours = [{"image_id": "u", "2d_caption": "a", "caption": "b"}]
    assert read_predictions(write_json(tmp_path / "b.json", ours)) == [Prediction("u", "a", "b")]


ROW = {"object_id": "u", "ground_truth": "a", "model_output": "b"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"results": []}, "empty"),
        ([{"image_id": "u"}], "entry 0"),
        ({"results": [ROW, ROW]}, "'u'"),
        (["text"], "entry 0"),
    ],
)
def test_unusable_predictions_are_named(tmp_path, write_json, content, named):
    with pytest.raises(EvaluationError, match=named):
        read_predictions(write_json(tmp_path / "p.json", content))


def test_command_scores_a_file_with_the_hashes_of_its_run(tmp_path, write_json, tiny_bert):
    path = write_json(tmp_path / "test.json", {"results": [ROW, ROW | {"object_id": "v"}]})
    write_json(tmp_path / "test_metrics.json", {"config_hash": "c0", "seed": 7, "split": "val"})
    assert main(["--predictions", str(path), "--encoder", tiny_bert]) == 0
    record = json.loads((tmp_path / "test_pointllm_metrics.json").read_text())
    assert (record["config_hash"], record["seed"], record["n_scored"]) == ("c0", 7, 2)
    assert record["extra"]["encoders"] == [tiny_bert]
    assert main(["--predictions", str(tmp_path / "absent.json")]) == 1


def test_ground_truth_becomes_uids_and_captions(tmp_path, write_json):
    talk = [{"from": "human", "value": "<point>?"}, {"from": "gpt", "value": "a chair"}]
    path = write_json(tmp_path / "gt.json", [{"object_id": "u1", "conversations": talk}])
    assert main(["--ground-truth", str(path), "--to", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "pointllm_uids.txt").read_text() == "u1\n"
    captions = json.loads((tmp_path / "out" / "pointllm_captions.json").read_text())
    assert captions == {"u1": "a chair"}
    twice = write_json(tmp_path / "2.json", [{"object_id": "u1", "conversations": talk}] * 2)
    with pytest.raises(EvaluationError, match="u1"):
        read_ground_truth(twice)
