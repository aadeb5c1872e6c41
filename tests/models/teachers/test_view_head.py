"""The trained head of the image teacher: training split alone, repeatable, read by embed_views."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lavis.common.errors import CheckpointError, DataError
from lavis.datasets.rendering.view_store import ViewWriter, encode_png
from lavis.models.teachers import SentenceTeacher
from lavis.models.teachers.embed_views import embed_views
from lavis.models.teachers.head import FeatureHead, train_head
from lavis.models.teachers.image import ConseTeacher, HeadTeacher
from lavis.models.teachers.train_view_head import main, read_features, read_pairs, training_pairs

TEXTS = ["a red brick", "a blue plate", "a white hat"]


@pytest.fixture(scope="module")
def sentences(tiny_bert) -> SentenceTeacher:
    return SentenceTeacher(tiny_bert)


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    """Two views of 30 objects [30,2,1280]; each of three kinds has a direction of its own."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(3, 1, 1280, generator=generator)
    return kinds.repeat(10, 1, 1) + 0.5 * torch.randn(30, 2, 1280, generator=generator)


PAIRS = [(row, TEXTS[row % 3]) for row in range(30)]


def test_views_come_near_the_texts_of_their_objects(sentences, features):
    head, loss = train_head(features, PAIRS[:24], sentences, epochs=30)
    nearest = (head(features[24:, 0]) @ sentences(TEXTS).T).argmax(1)
    assert nearest.tolist() == [row % 3 for row in range(24, 30)]
    assert not head.training
    # Eight objects of a batch have each text and are equally right: no loss is below log 8.
    assert loss < math.log(8) + 0.3


def test_a_seed_repeats_the_head(sentences, features):
    heads = [train_head(features, PAIRS, sentences, 2, seed)[0] for seed in (1, 1, 2)]
    weights = [head.layers[1].weight for head in heads]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_pairs_are_the_texts_of_training_objects_with_views():
    record = {"object_id": "b", "split": "train", "description": "Brick", "category": "brick"}
    records = [record, {**record, "object_id": "unseen"}, {"object_id": "a", "category": " "}]
    assert training_pairs([*records, {"object_id": "a", "description": "Hat"}], ["a", "b"]) == [
        (1, "Brick"),
        (1, "brick"),
        (0, "Hat"),
    ]
    for split in ("val", "dev_test", "held_out"):
        with pytest.raises(DataError, match=r"training split alone[\s\S]*'b'"):
            training_pairs([{**record, "split": split}], ["b"])
    with pytest.raises(DataError, match="no training object"):
        training_pairs(records[1:2], ["a"])


def test_captions_of_a_list_take_the_place_of_the_description():
    record = {"object_id": "a", "category": "chair", "description": "chair, 80 cm high"}
    captions = ["chair", "chair for the office"]
    pairs = training_pairs([{**record, "caption": captions}], ["a"])
    assert pairs == [(0, "chair"), (0, "chair for the office"), (0, "chair")]
    assert training_pairs([{**record, "caption": "chair"}], ["a"])[0] == (0, "chair, 80 cm high")


def test_several_files_are_one_training_set(tmp_path):
    for name, shape in [("a", (2, 2, 1280)), ("b", (1, 2, 1280)), ("c", (1, 3, 1280))]:
        ids = json.dumps([f"{name}{row}" for row in range(shape[0])])
        save_file({"features": torch.ones(shape)}, tmp_path / f"{name}.safetensors", {"ids": ids})
        record = {"object_id": f"{name}0", "description": name}
        (tmp_path / f"{name}.json").write_text(json.dumps([record]))
    files = {n: (tmp_path / f"{n}.safetensors", tmp_path / f"{n}.json") for n in "abc"}
    features, pairs, names = read_pairs(*zip(files["a"], files["b"]))
    assert features.shape == (3, 2, 1280)
    assert names == ["a0", "a1", "b0"]
    assert pairs == [(0, "a"), (2, "b")]
    with pytest.raises(DataError, match=r"c\.safetensors[\s\S]*\[1, 3, 1280\]"):
        read_pairs(*zip(files["a"], files["c"]))


def test_the_command_writes_what_embed_views_reads(tmp_path, monkeypatch, tiny_bert, sentences):
    views = tmp_path / "views.zip"
    rng = np.random.default_rng(0)
    with ViewWriter(views) as file:
        for name in "ab":
            pixels = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
            file.add(name, [encode_png(view) for view in pixels])
    conse = views.with_suffix(".conse.safetensors")
    embed_views(views, conse, ConseTeacher(sentences))
    records = [{"object_id": i, "description": t, "category": t} for i, t in zip("ab", TEXTS)]
    (tmp_path / "train.json").write_text(json.dumps(records))
    arguments = ["--embeds", str(conse), "--annotations", str(tmp_path / "train.json")]
    assert main([*arguments, "--text-teacher", tiny_bert, "--epochs", "1"]) == 0
    head = tmp_path / "head.safetensors"
    teacher = HeadTeacher(head)
    assert (teacher.space, teacher.embed_dim) == (sentences.space, 32)
    assert not any(p.requires_grad for p in teacher.parameters())
    expected = embed_views(views, tmp_path / "anew.safetensors", teacher)
    monkeypatch.setattr(teacher.network, "forward", None)  # the features of ConSE's file suffice
    out = embed_views(views, tmp_path / "head_views.safetensors", teacher, head=head)
    torch.testing.assert_close(
        *(load_file(path)["image_embeds"] for path in (expected, out)), rtol=0, atol=2e-3
    )


def test_training_objects_are_embedded_by_a_head_without_them(tmp_path, tiny_bert, features):
    ids = [f"o{row}" for row in range(30)]
    groups = {name: f"g{row // 2}" for row, name in enumerate(ids)}
    embeds, training = tmp_path / "views.safetensors", tmp_path / "train.json"
    save_file({"features": features}, embeds, {"ids": json.dumps(ids)})
    records = [
        {"object_id": i, "description": TEXTS[row % 3], "group": groups[i]}
        for row, i in enumerate(ids[:24])
    ]
    training.write_text(json.dumps(records))
    arguments = ["--embeds", str(embeds), "--annotations", str(training), "--epochs", "2"]
    arguments += ["--text-teacher", tiny_bert, "--folds", "3"]
    assert main(arguments) == 0
    teacher = HeadTeacher(tmp_path / "head.safetensors")
    assert teacher.fold_of.keys() == set(ids[:24])
    assert set(teacher.fold_of.values()) == {0, 1, 2}
    for name, fold in teacher.fold_of.items():  # a group is in one part
        assert fold == teacher.fold_of[ids[ids.index(name) // 2 * 2]]
    found, by_all = teacher.of_objects(features, ids), teacher.from_features(features)
    assert torch.equal(found[24:], by_all[24:])
    for row in range(24):
        own = teacher.folds[teacher.fold_of[ids[row]]](features[row])
        torch.testing.assert_close(found[row], own)
        assert not torch.allclose(found[row], by_all[row])
    assert not any(p.requires_grad for p in teacher.parameters())


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    with pytest.raises(CheckpointError, match="train_view_head"):
        HeadTeacher(path)
    save_file({"other": torch.zeros(2)}, path, {"space": "minilm@mean"})
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        HeadTeacher(path)
    save_file(FeatureHead(1280, 8).state_dict(), path)  # without its space
    with pytest.raises(CheckpointError, match="space"):
        HeadTeacher(path)
    save_file(FeatureHead(512, 8).state_dict(), path, {"space": "minilm@mean"})
    with pytest.raises(CheckpointError, match=r"cannot be read[\s\S]*512"):
        HeadTeacher(path)
    with pytest.raises(DataError, match="embed_views"):
        read_features(path)


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["--embeds", str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors" in capsys.readouterr().err
