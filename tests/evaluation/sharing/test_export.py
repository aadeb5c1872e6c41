"""A run of a tiny stage 2, exported with its scores, and loaded again."""

from __future__ import annotations

import sys

import pytest
import torch
import yaml
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.common.checkpoint import save_checkpoint
from lavis.common.errors import CheckpointError, EvaluationError, StorageError
from lavis.common.files import file_sha256
from lavis.common.model_state import trainable_state
from lavis.evaluation.sharing import main
from lavis.evaluation.sharing.export import export
from lavis.evaluation.sharing.run import own_scores, read_run
from lavis.models.hub import load_folder

PROCESSOR = {"name": "point_eval", "num_points": 32, "use_color": True, "normalize": True}


@pytest.fixture
def job(tmp_path, tiny_bert, tiny_llama, tiny_encoder_cfg, table_records):
    """A job's folder with a checkpoint, and two result files beside it: one is of another run."""
    section = {"arch": "point_blip_llm", "point_encoder": tiny_encoder_cfg, "llm": tiny_llama}
    section |= {"qformer_bert": tiny_bert, "num_query_token": 4, "freeze_point_encoder": False}
    section |= {"lora": {"rank": 2, "alpha": 4}, "draft_length": 2, "pretrained": "gone.pth"}
    section |= {"freeze_pc_projection": False}
    folder = tmp_path / "demo" / "stage2"
    folder.mkdir(parents=True)
    data = {"bricks_caption": {"point_processor": {"eval": PROCESSOR}, "build_info": {}}}
    run = {"seed": 42, "num_beams": 1}
    config = {"run": run, "model": section, "datasets": data}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    without_first = section | {"pretrained": None}
    model = registry.get_model_class("point_blip_llm").from_config(OmegaConf.create(without_first))
    save_checkpoint({"model": trainable_state(model)}, folder / "checkpoint_last.pth")
    results = tmp_path / "demo" / "scores" / "result"
    results.mkdir(parents=True)
    own = file_sha256(folder / "checkpoint_last.pth")
    table_records.write(
        results,
        captioning_metrics=table_records.captioning(0.5) | {"checkpoint_hash": own},
        other_metrics=table_records.captioning(0.9) | {"checkpoint_hash": "f" * 64},
    )
    return folder


@pytest.fixture
def batch(point_cloud):
    return {"point_cloud": point_cloud, "box_size": torch.ones(4, 3)}


def test_an_exported_run_writes_equal_captions(job, batch, tmp_path):
    out = export(read_run(job), tmp_path / "hub")
    loaded, config = load_folder(out)
    model = read_run(job).build()
    assert loaded.generate(batch, max_length=8) == model.generate(batch, max_length=8)
    difference = loaded.embed(batch, "point") - model.embed(batch, "point")
    assert difference.abs().max() <= 1e-6
    assert config["preprocess"]["point_processor"]["eval"] == PROCESSOR
    assert str(job) not in (out / "config.json").read_text()


def test_transformers_loads_stage_2_with_its_code(job, batch, tmp_path, monkeypatch):
    from transformers import AutoModel, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    out = export(read_run(job), tmp_path / "hub")
    model = AutoModel.from_pretrained(out, trust_remote_code=True)
    assert model.config.arch == "point_blip_llm"
    wanted = read_run(job).build().generate(batch, max_length=8)
    assert model.generate(batch, max_length=8) == wanted


def test_a_distributed_checkpoint_holds_equal_tensors(job, tmp_path):
    import torch.distributed.checkpoint as dcp

    out = export(read_run(job), tmp_path / "hub", distributed=True)
    state = torch.load(job / "checkpoint_last.pth", weights_only=True)["model"]
    read = {"model": {name: torch.empty_like(value) for name, value in state.items()}}
    dcp.load(read, checkpoint_id=out / "distributed_checkpoint", no_dist=True)
    assert all(torch.equal(read["model"][name], value) for name, value in state.items())


def test_the_card_quotes_the_scores_of_this_checkpoint_with_their_file(job, tmp_path):
    out = export(read_run(job), tmp_path / "hub", licence="mit")
    card = (out / "README.md").read_text()
    source = "scores/scores_captioning_metrics.json"
    assert "| captioning | dev test | cider | 7 | 50.0 | [30.0, 70.0] | nearest box: 133.4" in card
    assert f"[{source}]({source})" in card
    assert (out / source).is_file()
    assert 'license: "mit"' in card
    assert "`bricks` version 2" in card
    assert "1" * 40 in card
    assert "90.0" not in card
    assert (out / "training_config.yaml").read_text() == (job / "config.yaml").read_text()


def test_a_run_without_scores_says_so(job, tmp_path):
    (job.parent / "scores" / "result" / "captioning_metrics.json").unlink()
    out = export(read_run(job), tmp_path / "hub")
    assert "None: no evaluation of this checkpoint" in (out / "README.md").read_text()


def test_named_scores_of_another_checkpoint_are_refused(job):
    with pytest.raises(EvaluationError, match="no scores of the exported checkpoint"):
        own_scores(read_run(job), [job.parent / "scores" / "result" / "other_metrics.json"])


def test_a_folder_without_a_run_names_the_jobs_in_it(job, tmp_path):
    with pytest.raises(CheckpointError, match="demo/stage2"):
        read_run(job.parent)
    with pytest.raises(CheckpointError, match="make demo"):
        read_run(tmp_path / "nothing")


def test_other_files_are_never_overwritten(job, tmp_path):
    out = tmp_path / "hub"
    assert main(["--run", str(job), "--out", str(out)]) == 0
    assert main(["--run", str(job), "--out", str(out)]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(StorageError, match="other files"):
        export(read_run(job), tmp_path / "mine")


def test_the_command_reports_a_wrong_folder(tmp_path, capsys):
    assert main(["--run", str(tmp_path), "--out", str(tmp_path / "hub")]) == 1
    assert "no trained run" in capsys.readouterr().err
