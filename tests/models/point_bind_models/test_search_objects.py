"""Any-to-3D from the command line: mixed queries, the exported query, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.checkpoint import save_checkpoint
from lavis.common.errors import ConfigError
from lavis.common.model_state import trainable_state
from lavis.models.hub.trained_run import cloud_processor, load_run
from lavis.models.point_bind_models import search_objects
from lavis.tasks.embedding_export import as_safetensors


@pytest.fixture
def trained(build_model, model_sections, tmp_path):
    """A run's folder of a tiny Point-Bind, its model, and a gallery of eight objects."""
    model = build_model("point_bind").eval()
    section = model_sections["point_bind"] | {"arch": "point_bind", "model_type": "bricks"}
    data = {"bricks_caption": {"point_processor": {"eval": {"name": "point_eval"}}}}
    OmegaConf.save(OmegaConf.create({"model": section, "datasets": data}), tmp_path / "config.yaml")
    payload = {"model": trainable_state(model), "space": model.space}
    save_checkpoint(payload, tmp_path / "checkpoint_last.pth")
    texts = model.embed_texts([f"object {k}" for k in range(8)])
    content = as_safetensors([str(k) for k in range(8)], {"point": texts}, model.space)
    (tmp_path / "gallery.safetensors").write_bytes(content)
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(300, 3)))
    return tmp_path, model


def test_a_text_finds_its_object_and_a_mixture_is_exported(trained, capsys):
    folder, model = trained
    common = ["--run", str(folder), "--gallery", str(folder / "gallery.safetensors")]
    assert search_objects.main([*common, "--text", "object 3", "--count", "2"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0] == {"object_id": "3", "score": pytest.approx(1.0, abs=1e-5)}
    assert len(found) == 2
    cloud, out = str(folder / "cloud.npy"), str(folder / "query.npy")
    mixed = ["--cloud", f"{cloud}:0.3", "--text", "object 3:0.7", "--export", out]
    assert search_objects.main([*common, *mixed]) == 0
    query = torch.from_numpy(np.load(out))
    assert query.shape == (1, 32)
    torch.testing.assert_close(query.norm(), torch.tensor(1.0))
    point = cloud_processor(load_run(folder)[1])(np.load(cloud))[None]
    batch = {"point_cloud": point, "instance_id": ["item"], "text_input": ["object 3"]}
    expected = 0.3 * model.embed(batch, "point") + 0.7 * model.embed_texts(["object 3"])
    torch.testing.assert_close(query, torch.nn.functional.normalize(expected, dim=-1))


def test_other_models_runs_and_spaces_are_refused(trained, capsys, tmp_path):
    folder, _ = trained
    with pytest.raises(ConfigError, match=r"another model[\s\S]*point_llm"):
        load_run(folder, "point_llm")
    assert search_objects.main(["--run", "/nowhere", "--text", "a", "--export", "a.npy"]) == 1
    assert "no trained model" in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    other.write_bytes(as_safetensors(["a"], {"point": torch.ones(1, 32)}, "imagebind"))
    arguments = ["--run", str(folder), "--gallery", str(other)]
    assert search_objects.main([*arguments, "--text", "a"]) == 1
    assert "another joint space" in capsys.readouterr().err
    assert search_objects.main(arguments) == 1
    assert "--cloud, --image, --sound or --text" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        search_objects.main(["--text", "a"])


def test_several_vectors_of_an_item_are_not_added(build_model, batch):
    model = build_model("point_blip").eval()
    with pytest.raises(ConfigError, match="point_bind"):
        search_objects.query(model, batch, {"point": 1.0})


def test_a_run_without_clouds_has_no_processor():
    with pytest.raises(ConfigError, match="point_processor"):
        cloud_processor(OmegaConf.create({"datasets": {"sounds_caption": {}}}))
