"""Prompt sets, class lists, probes, confusion picture, closed-set matching."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from lavis.common.errors import ConfigError, DataError, EvaluationError
from lavis.evaluation.closed_set import NO_CLASS, match_classes
from lavis.evaluation.confusion_picture import confusion_svg
from lavis.evaluation.probes import draw_shots, probe_metrics
from lavis.evaluation.prompt_sets import PROMPT_SETS, class_names, load_templates


@pytest.mark.parametrize("name", sorted(PROMPT_SETS))
def test_built_in_templates_have_one_place_each_and_never_repeat(name):
    templates = load_templates(name)
    assert all(t.count("{}") == 1 and t.format("chair").count("chair") == 1 for t in templates)
    assert len(set(templates)) == len(templates)


def test_templates_and_classes_come_from_files(tmp_path, write_json):
    (tmp_path / "t.txt").write_text("a {}\n\nthe {}\n")
    assert load_templates(str(tmp_path / "t.txt")) == ["a {}", "the {}"]
    assert load_templates(str(write_json(tmp_path / "t.json", ["my {}"]))) == ["my {}"]
    lvis = write_json(tmp_path / "lvis.json", {"flower_pot": ["u1"], "bag": ["u2"]})
    assert class_names(str(lvis)) == ["bag", "flower pot"]
    records = [{"category": "b"}, {"category": "a"}, {"category": "b"}]
    assert class_names(str(write_json(tmp_path / "r.json", records))) == ["a", "b"]


def test_bad_templates_and_classes_are_refused(tmp_path, write_json):
    with pytest.raises(ConfigError, match="ensemble"):
        load_templates("ensembel")
    with pytest.raises(ConfigError, match="exactly one"):
        load_templates(str(write_json(tmp_path / "t.json", ["no place"])))
    with pytest.raises(DataError, match="modelnet40"):
        class_names("modelnet")
    with pytest.raises(DataError, match="repeats"):
        class_names(str(write_json(tmp_path / "c.json", ["a", "a"])))


def test_public_lists_have_their_published_sizes():
    assert len(set(class_names("modelnet40"))) == 40
    assert len(set(class_names("scanobjectnn_pb_t50_rs"))) == 15


def blobs(n, seed):
    """Four classes around four directions, 3 tokens each."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return np.eye(8)[labels][:, None] + 0.2 * rng.standard_normal((n, 3, 8)), labels


def test_probes_learn_what_embeddings_hold():
    (train, train_labels), (test, labels) = blobs(200, 0), blobs(80, 1)
    metrics = probe_metrics(train, train_labels, test, labels, shots=[1, 5])
    assert metrics["linear_probe/top_1"]["value"] > 0.95
    assert set(metrics) == {"linear_probe/top_1", "few_shot_1/top_1", "few_shot_5/top_1"}
    assert metrics["few_shot_5/top_1"]["value"] > 0.8
    again = probe_metrics(train, train_labels, test, labels, shots=[1], linear=False)
    assert again["few_shot_1/top_1"] == metrics["few_shot_1/top_1"]
    shuffled = np.random.default_rng(2).permutation(train_labels)
    assert probe_metrics(train, shuffled, test, labels)["linear_probe/top_1"]["value"] < 0.6


def test_shots_are_drawn_per_class():
    labels = np.array([0] * 10 + [1] * 2 + [2] * 5)
    drawn = draw_shots(labels, 3, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [3, 2, 3]
    assert len(set(drawn.tolist())) == 8


def test_a_probe_needs_two_classes_and_as_many_labels():
    for labels in ([0, 0, 0], [0, 1]):
        with pytest.raises(EvaluationError, match="linear probe"):
            probe_metrics(np.ones((3, 4)), labels, np.ones((1, 4)), [0])


def test_the_confusion_picture_is_svg_with_every_count():
    svg = confusion_svg(
        np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["a <b>", "c", "unused"], "two classes"
    )
    root = ElementTree.fromstring(svg)
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["a <b> as a <b>: 3 of 4", "a <b> as c: 1 of 4", "c as c: 2 of 2"]
    assert "unused" not in svg


def test_a_name_in_the_text_decides_the_longest_first():
    names = ["stand", "night stand", "table", "glass box"]
    texts = ["A wooden nightstand.", "two TABLES on a stand", "a vegetable", "a glass-box", ""]
    matches = match_classes(texts, names)
    assert matches.predicted.tolist() == [1, 2, NO_CLASS, 3, NO_CLASS]
    assert matches.by_name.tolist() == [True, True, False, True, False]


def test_the_nearest_embedding_decides_where_no_name_stands():
    def encode(texts):
        return np.array([[1.0, 0.0] if "a" in text else [0.0, 1.0] for text in texts])

    matches = match_classes(["xa", "xo", "bee"], ["a", "bee"], encode)
    assert matches.predicted.tolist() == [0, 1, 1]
    with pytest.raises(EvaluationError, match="repeated"):
        match_classes(["x"], ["a", "a"])
    assert json.dumps(matches.predicted.tolist())
