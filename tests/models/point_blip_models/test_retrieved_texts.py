"""Texts of neighbours: whose they are, where they are put, and how the pool is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lavis.common.errors import CheckpointError, ConfigError, DataError
from lavis.common.model_state import load_trainable_state, trainable_state
from lavis.models.point_blip_models.config import PointBlipLLMConfig
from lavis.models.point_blip_models.lookup_keys import lookup_keys
from lavis.models.point_blip_models.point_blip_llm import PointBlipLLM
from lavis.models.point_blip_models.retrieved_texts import RetrievedTexts, squared_distances
from lavis.models.point_encoders.object_head import ObjectHead
from lavis.models.weights.files import save_tensors
from lavis.models.weights.parts import loadable_parts

VERSION = {"name": "bricks", "version": 2, "split_file_sha256": "aa"}


class Objects(list):
    """A data set with captions, whose training objects are itself."""

    def __init__(self, clouds, groups="abcdef", version=VERSION):
        self.annotation = [
            {"object_id": f"o{k}", "caption": f"text {k}", "group": groups[k]}
            for k in range(len(clouds))
        ]
        self.data_version = version
        samples = [
            {"point_cloud": cloud, "box_size": cloud[:, :3].amax(0) - cloud[:, :3].amin(0)}
            for cloud in clouds
        ]
        texts = [{"text_input": r["caption"], **r} for r in self.annotation]
        super().__init__({**sample, **text} for sample, text in zip(samples, texts, strict=True))

    def reference_dataset(self):
        return self


@pytest.fixture
def clouds() -> torch.Tensor:
    """Six boxes of growing height, coloured [6,64,6]."""
    cloud = torch.rand(64, 6, generator=torch.Generator().manual_seed(0))
    return torch.stack([cloud * torch.tensor([1, 1 + 0.3 * k, 1, 1, 1, 1]) for k in range(6)])


@pytest.fixture
def build(tiny_llama, tiny_bert, tiny_encoder_cfg):
    def make(count: int = 2, lookup: str = "shape", **options) -> PointBlipLLM:
        torch.manual_seed(0)
        options = {"freeze_point_encoder": True, "prompt": "a", "qa_prompt": "{} ->"} | options
        config = PointBlipLLMConfig(
            llm=tiny_llama,
            point_encoder=tiny_encoder_cfg,
            qformer_bert=tiny_bert,
            num_query_token=4,
            qformer_width=None,
            retrieved_texts=count,
            retrieval_lookup=lookup,
            **options,
        )
        return PointBlipLLM(config)

    return make


def batch_of(objects: Objects, rows: list[int], **fields) -> dict:
    return {
        "point_cloud": torch.stack([objects[row]["point_cloud"] for row in rows]),
        "box_size": torch.stack([objects[row]["box_size"] for row in rows]),
        "object_id": [objects[row]["object_id"] for row in rows],
    } | fields


@pytest.mark.parametrize("lookup", ["shape", "encoder", "joint"])
def test_an_object_never_finds_its_own_text_nor_one_of_its_group(build, clouds, lookup):
    objects = Objects(clouds, groups="aabbcc")
    model = build(3, lookup)
    model.read_training_objects([objects])
    for training in (True, False):
        prompts = model.train(training).caption_prompts(batch_of(objects, [0, 3, 5]))
        own = [{"text 0", "text 1"}, {"text 2", "text 3"}, {"text 4", "text 5"}]
        for prompt, forbidden in zip(prompts, own, strict=True):
            texts = prompt.removeprefix("Similar objects: ").removesuffix(". a").split("; ")
            assert len(texts) == 3
            assert not forbidden & set(texts)


def test_the_nearest_come_first_in_captions_and_questions(build, clouds):
    objects = Objects(clouds)
    model = build(2).eval()
    model.read_training_objects([objects])
    unknown = batch_of(objects, [0, 5], object_id=["new", "newer"])
    assert model.caption_prompts(unknown, "Name it: ") == [
        "Similar objects: text 0; text 1. Name it:",
        "Similar objects: text 5; text 4. Name it:",
    ]
    asked = unknown | {"question": ["how?", "why?"]}
    assert model.question_prompts(asked)[1] == "Similar objects: text 5; text 4. why? ->"
    del unknown["object_id"]  # a user's cloud
    assert "text 0; text 1" in model.caption_prompts(unknown)[0]


def test_training_looks_up_stored_clouds_and_evaluation_the_clouds_of_the_batch(build, clouds):
    objects = Objects(clouds)
    model = build(1)
    model.read_training_objects([objects])
    swapped = batch_of(objects, [5]) | {"object_id": ["o0"]}
    assert "text 1." in model.train().caption_prompts(swapped)[0]
    assert "text 5." in model.eval().caption_prompts(swapped)[0]
    mixed = batch_of(objects, [5, 5]) | {"object_id": ["o0", "new"]}
    assert ["text 1." in p for p in model.train().caption_prompts(mixed)] == [True, False]


def test_an_unknown_size_leaves_the_shape(build, clouds):
    objects = Objects(clouds)
    model = build(1).eval()
    model.read_training_objects([objects])
    unknown = batch_of(objects, [3], object_id=["new"], box_size=torch.full((1, 3), torch.nan))
    assert "text 3." in model.caption_prompts(unknown)[0]


def test_features_of_the_head_count_in_evaluation_only(build, clouds, tmp_path):
    """The head is trained with the pool's texts: in training its neighbours are too good."""
    objects = Objects(clouds)
    torch.manual_seed(1)
    head = ObjectHead(build(0).point_encoder.global_dim, use_size=True, width=8)
    head.layer[0].weight.data.mul_(100)  # far more than shape
    save_tensors(tmp_path / "head.safetensors", head.state_dict(), {})
    model = build(1, "head", retrieval_head=str(tmp_path / "head.safetensors"))
    model.read_training_objects([objects])
    assert not any(p.requires_grad for p in model.retrieval_head.parameters())
    assert "retrieval_head" not in loadable_parts(model)  # it has a file of its own
    keys = model.lookup_keys(batch_of(objects, list(range(6))))
    shape = model.retrieval.train().nearest(keys)
    model.retrieval.keys[:, -8:] = model.retrieval.keys[:, -8:].flip(0)
    assert torch.equal(model.retrieval.nearest(keys), shape)
    assert not torch.equal(model.retrieval.eval().nearest(keys), shape)
    with pytest.raises(ConfigError, match="belong together"):
        build(1, "head")
    with pytest.raises(ConfigError, match="belong together"):
        build(1, "joint", retrieval_head=str(tmp_path / "head.safetensors"))


def test_retrieved_texts_take_the_objects_own_size(build, clouds):
    objects = Objects(clouds)
    for sample in objects:
        sample["text_input"] = "plate 4 x 2 with 3 x 3 hole"
    model = build(1, retrieved_own_size=True).eval()
    model.read_training_objects([objects])
    box = torch.tensor([[5.9, 1.0, 8.2], [torch.nan] * 3])
    texts = model.retrieval.texts(batch_of(objects, [0, 1], box_size=box), model.lookup_keys)
    assert texts == [["plate 8 x 6 with 3 x 3 hole"], ["plate 4 x 2 with 3 x 3 hole"]]


def test_a_control_looks_up_another_object(build, clouds):
    objects = Objects(clouds)
    model = build(1).eval()
    model.read_training_objects([objects])
    other = objects[4]
    asked = batch_of(objects, [0], object_id=["new"]) | {
        "lookup_cloud": [other["point_cloud"]],
        "lookup_box": other["box_size"][None],
    }
    assert "text 4." in model.caption_prompts(asked)[0]


def test_loss_and_texts_use_the_pool(build, clouds):
    objects = Objects(clouds)
    model = build(2)
    model.read_training_objects([objects])
    samples = batch_of(objects, [0, 1], text_input=["one", "two"])
    model(samples)["loss"].backward()
    assert model.llm_proj.weight.grad is not None
    assert len(model.eval().generate(samples, num_beams=2, max_length=3)) == 2


def test_the_checkpoint_holds_the_pool(build, clouds, tmp_path):
    objects = Objects(clouds)
    trained = build(2).eval()
    trained.read_training_objects([objects])
    samples = batch_of(objects, [0, 4], object_id=["x", "y"])
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": trainable_state(trained)}, path)
    loaded = build(2, point_encoder_weights=None).eval()
    loaded.load_from_pretrained(str(path))
    assert loaded.caption_prompts(samples) == trained.caption_prompts(samples)
    resumed = build(2).eval()
    resumed.read_training_objects([objects])
    load_trainable_state(resumed, trainable_state(trained), "here")
    assert torch.equal(resumed.retrieval.keys, trained.retrieval.keys)


def test_a_pool_of_another_data_version_is_refused(build, clouds):
    model = build(2)
    model.read_training_objects([Objects(clouds)])
    other = Objects(clouds, version=VERSION | {"split_file_sha256": "bb"})
    with pytest.raises(CheckpointError, match="another data version"):
        model.read_training_objects([other])
    model.read_training_objects([Objects(clouds, version={"name": "mine", "version": 1})])
    resumed = build(2)
    resumed.read_training_objects([other])
    with pytest.raises(CheckpointError, match="another data version"):
        load_trainable_state(resumed, trainable_state(model), "here")


def test_what_cannot_work_is_refused(build, clouds):
    with pytest.raises(ConfigError, match="at most 4"):
        build(5).read_training_objects([Objects(clouds, groups="aabcde")])
    with pytest.raises(ConfigError, match="no captions"):
        build(1).read_training_objects([SimpleNamespace()])
    with pytest.raises(ConfigError, match="no pool"):
        build(1).caption_prompts(batch_of(Objects(clouds), [0]))
    with pytest.raises(ConfigError, match="encoder that is trained"):
        build(1, "joint", freeze_point_encoder=False)
    with pytest.raises(ConfigError, match="no place for texts"):
        build(1, retrieved_prompt="Similar.")
    model, other = build(1), build(1, "joint")
    model.read_training_objects([Objects(clouds)])
    with pytest.raises(ConfigError, match="another lookup"):
        load_trainable_state(other, trainable_state(model), "here")


def test_data_sets_without_captions_or_training_objects_are_passed_over(build, clouds):
    class Questions(Objects):
        def reference_dataset(self):
            return SimpleNamespace(
                annotation=[{"question": "?", "caption": "!"}], __len__=lambda: 1
            )

    class Alone(Objects):
        def reference_dataset(self):
            raise DataError("no training split")

    model = build(1)
    model.read_training_objects([Alone(clouds), Objects(clouds)])
    assert len(model.retrieval.entries.ids) == 6


def test_without_the_option_nothing_changes(build, clouds):
    model = build(0)
    model.read_training_objects([])
    assert model.retrieval is None
    assert model.caption_prompts(batch_of(Objects(clouds), [0])) == ["a"]
    assert build(2, loss_weights={"lm": 0.0}, draft_length=2).retrieval is None


def test_texts_with_braces_and_semicolons_stay(clouds):
    pool = RetrievedTexts(1, "shape", "({})")
    objects = Objects(clouds[:2])
    objects[0]["text_input"] = "a {size}; b"

    def keys(samples):
        return lookup_keys(None, samples, "shape")

    pool.prepare([objects], keys)
    samples = batch_of(objects, [0], object_id=["new"])
    assert pool.eval()(["?"], samples, keys) == ["(a {size}; b) ?"]


def test_distances_leave_out_what_one_side_does_not_know():
    nan = torch.nan
    queries, keys = torch.tensor([[1.0, nan], [1.0, 2.0]]), torch.tensor([[0.0, 5.0], [3.0, nan]])
    expected = torch.tensor([[1.0, 4.0], [10.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(squared_distances(queries, keys), expected)
