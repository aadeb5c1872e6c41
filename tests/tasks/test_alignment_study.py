"""The alignment study: one model's figures, several side by side, pictures, and the README."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, EvaluationError
from lavis.models.abilities import check_abilities
from lavis.models.point_blip_models.config import PointBlipConfig
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_llm_contrastive_models.options import PointLLMContrastiveConfig
from lavis.models.point_llm_contrastive_models.point_llm_contrastive import PointLLMContrastive
from lavis.tasks import alignment_compare
from lavis.tasks.alignment_compare import compare, read_member, verdict
from lavis.tasks.alignment_pictures import joint_tsne
from lavis.tasks.alignment_study import AlignmentStudyTask, object_groups
from tests.tasks.evaluating_runner import runner_in

FIGURES = {"centroid_distance", "avg_cosine_similarity", "nearest_text_accuracy"}


def contrastive(llm: str, encoder: dict) -> PointLLMContrastive:
    return PointLLMContrastive(PointLLMContrastiveConfig(llm=llm, point_encoder=encoder))


@pytest.fixture
def task() -> AlignmentStudyTask:
    return AlignmentStudyTask(
        OmegaConf.create(
            {"seed": 1, "evaluate": True, "train_splits": ["train"], "test_splits": []}
        )
    )


@pytest.fixture
def samples(point_cloud, captions) -> dict:
    ids = ["3", "1", "2", "0"]
    return {"point_cloud": point_cloud, "text_input": captions, "instance_id": ids}


def study(task, folder, points: np.ndarray, texts: np.ndarray) -> str:
    """Score given embeddings as an evaluation does; returns the job's folder."""
    ids = [f"{row:03d}" for row in range(len(points))]
    records = [
        {"instance_id": i, "text": f"text <b>{i}</b>", "point": p, "text_embed": t}
        for i, p, t in zip(ids, points, texts)
    ]
    entries = [{"instance_id": i, "color": ("red", "blue")[k % 2]} for k, i in enumerate(ids)]
    dataset = SimpleNamespace(annotation=entries)
    task.after_evaluation(records, "test", "best", dataset, None, runner_in(folder / "result"))
    return str(folder)


@pytest.fixture
def folders(task, tmp_path) -> dict[str, str]:
    """Three members of one space, the last one the best, and one of another space."""
    generator = np.random.default_rng(0)
    texts = generator.normal(1.0, 1.0, size=(20, 6)).astype(np.float32)
    noise = generator.normal(size=(20, 6)).astype(np.float32)
    other = generator.normal(size=(20, 2, 4)).astype(np.float32)
    return {
        "initial": study(task, tmp_path / "initial", 5 * noise, texts),
        "generative": study(task, tmp_path / "generative", 2 * noise + 0.5, texts),
        "contrastive": study(task, tmp_path / "contrastive", texts + 0.1 * noise, texts),
        "other": study(task, tmp_path / "other", other, other[:, 0]),
    }


@pytest.mark.parametrize("arch", ["point_llm_contrastive", "point_blip"])
def test_any_registered_model_takes_part(
    task, samples, tmp_path, arch, tiny_llama, tiny_bert, tiny_encoder_cfg
):
    if arch == "point_blip":
        sizes = {"qformer_bert": tiny_bert, "num_query_token": 4, "qformer_width": None}
        model = PointBlip(PointBlipConfig(point_encoder=tiny_encoder_cfg, **sizes))
    else:
        model = contrastive(tiny_llama, tiny_encoder_cfg)
    records = task.valid_step(model.eval(), samples)
    dataset = SimpleNamespace(annotation=[{"instance_id": i} for i in samples["instance_id"]])
    task.after_evaluation(
        records, "test", "best", dataset, model, runner_in(tmp_path / "job" / "result")
    )
    metrics = json.loads((tmp_path / "job/result/test_metrics.json").read_text())
    assert set(metrics["metrics"]) >= FIGURES
    assert metrics["baselines"]["chance"]["object_to_text/recall_at_1"] == 0.25
    assert ("published_token_level" in metrics["extra"]) == (arch == "point_llm_contrastive")
    member = read_member("job", tmp_path / "job", "test")
    assert member.ids == ["0", "1", "2", "3"]
    assert member.names[member.ids.index("3")] == samples["text_input"][0]


def test_a_model_without_embeddings_of_both_is_refused(task):
    with pytest.raises(ConfigError, match="JointEmbedder"):
        check_abilities(torch.nn.Linear(1, 1), task.needed_abilities(), "alignment_study")


def test_validation_in_training_has_the_loss_and_no_embeddings_file(
    task, samples, tmp_path, tiny_llama, tiny_encoder_cfg
):
    task.run_cfg.evaluate = False
    model = contrastive(tiny_llama, tiny_encoder_cfg).eval()
    records = task.valid_step(model, samples)
    dataset = SimpleNamespace(annotation=[{"instance_id": i} for i in samples["instance_id"]])
    runner = runner_in(tmp_path / "job" / "result", evaluate_only=False)
    found = task.after_evaluation(records, "val", 0, dataset, model, runner)
    assert found["agg_metrics"] == -found["loss"]
    assert found["loss"] == pytest.approx(model(samples)["loss"].item())
    assert not list((tmp_path / "job").rglob("*.npz"))


def test_the_projector_is_kept_before_the_first_step(
    task, samples, tmp_path, tiny_llama, tiny_encoder_cfg
):
    registry.mapping["paths"]["output_dir"] = str(tmp_path)
    model = contrastive(tiny_llama, tiny_encoder_cfg)
    task.train_step(model, samples | {"epoch": 0, "iters": 1})
    assert not list(tmp_path.iterdir())
    task.train_step(model, samples | {"epoch": 0, "iters": 0})
    kept = torch.load(tmp_path / "initial_projector_weights.pth", weights_only=True)
    assert torch.equal(kept["projector_state_dict"]["fc1.weight"], model.projector.fc1.weight)


def test_a_bank_as_large_as_the_data_is_refused(task, monkeypatch):
    built = {"toy": {"train": range(8)}}
    monkeypatch.setattr("lavis.tasks.base_task.BaseTask.build_datasets", lambda self, cfg: built)
    task.run_cfg.evaluate = False
    bank = {"loss_type": "contrastive", "negatives": "bank", "memory_bank_size": 8}
    with pytest.raises(ConfigError, match="memory_bank_size"):
        task.build_datasets(SimpleNamespace(model_cfg=bank, run_cfg=task.run_cfg))
    for fine in ({"memory_bank_size": 7}, {"negatives": "batch"}, {"loss_type": "generative"}):
        cfg = SimpleNamespace(model_cfg=bank | fine, run_cfg=task.run_cfg)
        assert task.build_datasets(cfg) is built


def test_members_stand_side_by_side(folders):
    record = compare([read_member(name, folder, "test") for name, folder in folders.items()])
    metrics, extra = record["metrics"], record["extra"]
    assert metrics["contrastive/object_to_text/recall_at_1"]["value"] == pytest.approx(1.0)
    assert 0 < metrics["contrastive/within_color/recall_at_1"]["value"] <= 1
    assert record["baselines"]["chance"]["other/within_color/recall_at_1"] == pytest.approx(0.1)
    assert set(record["baselines"]) == {"chance", "initial"}
    change = extra["members"]["contrastive"]["change_from_initial"]["avg_cosine_similarity"]
    assert change["ci95"][0] > 0
    assert "change_from_initial" not in extra["members"]["other"]  # another space
    assert set(extra["pairwise"]) == {"contrastive - generative"}
    assert extra["verdict"].startswith("contrastive has a larger margin than generative")


def test_a_margin_whose_interval_includes_zero_is_no_win():
    entry = {"value": 0.1, "ci95": [-0.1, 0.3]}
    said = verdict({"extra": {"pairwise": {"b - a": {"margin": entry}}}})
    assert said == "No difference in margin between a and b (0.100 [-0.100, 0.300])."


def test_an_object_without_colour_leaves_the_colours_out():
    annotation = [
        {"instance_id": "1", "color": "red", "category": "brick"},
        {"instance_id": "0", "category": "plate"},
    ]
    assert object_groups(annotation, ["0", "1"]) == {"category": ["plate", "brick"]}


def test_members_of_other_objects_are_refused(folders, task, tmp_path):
    few = study(task, tmp_path / "few", np.eye(6)[:5], np.eye(6)[:5])
    members = [
        read_member("initial", folders["initial"], "test"),
        read_member("few", few, "test"),
    ]
    with pytest.raises(EvaluationError, match="same objects"):
        compare(members)


def test_command_line_writes_all_three_files(folders, tmp_path, capsys):
    named = [f"{name}={folder}" for name, folder in folders.items()]
    out = tmp_path / "study"
    assert (
        alignment_compare.main([*named, "--out", str(out), "--samples", "6", "--split", "test"])
        == 0
    )
    assert json.loads((out / "alignment_study.json").read_text())["n_scored"] == 20
    assert (out / "tsne_comparison_all.png").read_bytes()[:4] == b"\x89PNG"
    page = (out / "alignment_study.html").read_text()
    assert "text <b>" not in page  # captions cannot become markup
    assert "{{" not in page
    assert "http://www.w3.org/2000/svg" in page
    assert page.count("http") == 1  # the name space: nothing is fetched
    assert alignment_compare.main(["a=nowhere", "--out", str(out)]) == 2
    assert "was not evaluated" in capsys.readouterr().err


def test_tsne_adapts_its_perplexity_and_refuses_fewer_than_four():
    rows = np.random.default_rng(0).normal(size=(4, 3))
    placed = joint_tsne({"points": rows, "text": rows + 1}, iterations=250)
    assert {name: xy.shape for name, xy in placed.items()} == {"points": (4, 2), "text": (4, 2)}
    with pytest.raises(EvaluationError, match="at least 4"):
        joint_tsne({"points": rows[:3], "text": rows[:3]})
