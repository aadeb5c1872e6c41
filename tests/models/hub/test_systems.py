"""Shared folders of every registered system: same outputs, own files only, clear refusals."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from lavis.common.errors import CheckpointError, ConfigError
from lavis.models.hub import is_hub_folder, load_folder
from lavis.models.hub.system import build_from_section
from lavis.models.mixcon3d_models.mixcon3d import MixCon3D
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_encoders.object_head import ObjectHead
from lavis.models.weights.files import save_tensors

ARCHS = (
    *("point_blip", "point_blip_llm", "mixcon3d", "point_bind", "point_llm"),
    *("point_llm_contrastive", "ulip_text"),
    *("text4point", "text4point_segmentation", "text4point_instances"),
    *("text4point_detection", "text4point_referring"),
)


@pytest.fixture
def share(build_model, model_sections, tmp_path):
    """Return a function arch -> (model, its shared folder)."""

    def make(arch):
        model = build_model(arch).eval()
        model.hub_section = {"arch": arch} | model_sections[arch]
        model.save_pretrained(tmp_path / arch)
        return model, tmp_path / arch

    return make


@pytest.fixture
def edit():
    """Return a function that changes keys of a folder's config.json."""

    def change(folder, **changes):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.mark.parametrize("arch", ARCHS)
def test_a_loaded_system_has_equal_weights(arch, share):
    model, folder = share(arch)
    loaded, config = load_folder(folder)
    assert type(loaded) is type(model)
    assert config["arch"] == arch
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


@pytest.mark.parametrize("arch", ["point_blip", "mixcon3d", "point_bind", "ulip_text"])
def test_embeddings_are_equal(arch, share, batch):
    model, folder = share(arch)
    loaded = type(model).from_pretrained(folder)
    for modality in ("point", "text"):
        difference = model.embed(batch, modality) - loaded.embed(batch, modality)
        assert difference.abs().max() <= 1e-6


@pytest.mark.parametrize("arch", ["point_blip", "point_blip_llm", "point_llm_contrastive"])
def test_captions_are_equal(arch, share, batch):
    model, folder = share(arch)
    loaded = type(model).from_pretrained(folder)
    assert model.generate(batch, max_length=8) == loaded.generate(batch, max_length=8)


@pytest.mark.parametrize("arch", ["text4point", "text4point_segmentation", "text4point_instances"])
def test_labels_of_points_are_equal(arch, share, batch):
    model, folder = share(arch)
    loaded = type(model).from_pretrained(folder)
    assert loaded.class_names == model.class_names
    for labels in (None, ["sofa", "floor lamp"]):
        wanted = model.segment_points(batch, labels)
        assert torch.equal(loaded.segment_points(batch, labels), wanted)


@pytest.mark.parametrize(
    ("arch", "ability"),
    [
        ("text4point_instances", "segment"),
        ("text4point_detection", "detect"),
        ("text4point_referring", "refer"),
    ],
)
def test_objects_of_a_room_are_equal(arch, ability, share, batch):
    model, folder = share(arch)
    loaded = type(model).from_pretrained(folder)
    assert str(getattr(loaded, ability)(batch)) == str(getattr(model, ability)(batch))


@pytest.mark.parametrize("arch", ["text4point", "text4point_segmentation"])
def test_frozen_teachers_are_not_shared(arch, share):
    model, folder = share(arch)
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = set(file.keys())
    weights = {name for name, _ in model.named_parameters()}
    assert {name for name in weights if name.startswith("network.")} <= names
    assert not [name for name in names & weights if "teacher" in name]


def test_adapters_are_shared_and_the_frozen_base_is_not(share, model_sections):
    model_sections["point_blip_llm"]["lora"] = {"rank": 2, "alpha": 4, "dropout": 0.0}
    _, folder = share("point_blip_llm")
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = [name for name in file.keys() if name.startswith("language_model.")]  # noqa: SIM118
    assert names
    assert all("lora_" in name for name in names)


def test_gates_and_prefixes_of_the_first_phase_are_shared(build_model, model_sections, tmp_path):
    model_sections["point_llm"]["phase"] = "finetune"
    model = build_model("point_llm").eval()
    torch.nn.init.normal_(model.language_model.gates)
    model.hub_section = {"arch": "point_llm"} | model_sections["point_llm"]
    model.save_pretrained(tmp_path)
    loaded, _ = load_folder(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_a_loaded_system_can_be_saved_again(share, tmp_path):
    _, folder = share("ulip_text")
    loaded, _ = load_folder(folder)
    loaded.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_files_of_the_training_machine_are_not_named(share, model_sections):
    model, _ = share("point_llm")
    model.hub_section = {"joint": {"finetuned": "x.pth"}, "released": "y.pt"} | {
        "arch": "point_llm"
    }
    assert model.hub_config()["model"]["joint"]["finetuned"] is None
    assert model.hub_config()["model"]["released"] is None


def test_saving_needs_the_section(build_model, tmp_path):
    with pytest.raises(ConfigError, match="hub_section"):
        build_model("ulip_text").save_pretrained(tmp_path)


def test_a_type_of_lavis_is_still_a_name(monkeypatch):
    monkeypatch.setattr(PointBlip, "from_config", classmethod(lambda cls, cfg: (cls, cfg)))
    for built in (
        PointBlip.from_pretrained("bricks"),
        PointBlip.from_pretrained(model_type="bricks"),
    ):
        assert built[0] is PointBlip
        assert built[1].arch == "point_blip"


@pytest.mark.parametrize("content", [{"model_type": "llama"}, {"format": "other/3"}, [1]])
def test_a_folder_of_another_project_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert not is_hub_folder(tmp_path)
    with pytest.raises(CheckpointError, match="another project"):
        load_folder(tmp_path)


def test_a_folder_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "lavis-point-language/9"}')
    assert is_hub_folder(tmp_path)
    with pytest.raises(CheckpointError, match="another version"):
        load_folder(tmp_path)


def test_no_configuration_and_no_json_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no configuration"):
        load_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_folder(tmp_path)


def test_another_arch_or_kind_is_refused(share, edit):
    _, folder = share("ulip_text")
    with pytest.raises(CheckpointError, match="another model"):
        MixCon3D.from_pretrained(folder)
    edit(folder, arch="no_such_arch")
    with pytest.raises(CheckpointError, match="no_such_arch"):
        load_folder(folder)
    edit(folder, kind="qformer")
    with pytest.raises(CheckpointError, match="something else"):
        load_folder(folder)


@pytest.mark.parametrize(("arch", "key"), [("point_blip_llm", "llm"), ("ulip_text", "text_tower")])
def test_an_absent_base_model_is_named(arch, key, share, edit):
    _, folder = share(arch)
    section = json.loads((folder / "config.json").read_text())["model"]
    edit(folder, model=section | {key: "/no/such/model"})
    with pytest.raises(CheckpointError, match="base model that the card names"):
        load_folder(folder)


def test_another_base_model_of_equal_size_is_refused(share, edit):
    _, folder = share("point_blip_llm")
    edit(folder, base_fingerprint="0" * 64)
    with pytest.raises(CheckpointError, match="base model is not the one"):
        load_folder(folder)


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_damaged_weights_are_refused(damage, share):
    _, folder = share("ulip_text")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError):
        load_folder(folder)


def test_a_retrieval_head_comes_with_the_folder(build_model, model_sections, tmp_path):
    section = model_sections["point_blip_llm"]
    width = build_model("point_blip_llm").point_encoder.global_dim
    head = ObjectHead(width, use_size=True, width=8)
    file = tmp_path / "head.safetensors"
    save_tensors(file, head.state_dict(), {})
    section.update(retrieved_texts=1, retrieval_lookup="head", retrieval_head=str(file))
    section["freeze_point_encoder"] = True
    model = build_model("point_blip_llm").eval()
    model.hub_section = {"arch": "point_blip_llm"} | section
    model.save_pretrained(tmp_path / "shared")
    file.unlink()
    loaded, config = load_folder(tmp_path / "shared")
    assert config["model"]["retrieval_head"] == {"use_size": True, "width": 8}
    for name, value in head.state_dict().items():
        assert torch.equal(value, loaded.retrieval_head.state_dict()[name]), name
    config["model"]["retrieval_head"] = {"width": 8}
    with pytest.raises(CheckpointError, match=r"use_size and width"):
        build_from_section(type(model), config, tmp_path / "shared")
