"""Launch files: the Slurm script and train.py's short options."""

from __future__ import annotations

import importlib.util
import subprocess
from argparse import Namespace

import pytest

from lavis.common import launch
from lavis.common.dist_utils import get_rank
from lavis.common.errors import ConfigError
from lavis.config.run_config import RunConfig
from train import parse_args, run


@pytest.fixture
def slurm(repo_root):
    spec = importlib.util.spec_from_file_location("slurm", repo_root / "launch/slurm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_slurm_script_is_valid_and_resumes_after_a_signal(slurm, tmp_path, capsys):
    code = slurm.main(
        [
            "--nodes",
            "4",
            "--job",
            "a b",
            "--print",
            "--",
            "--cfg-path",
            "x.yaml",
            "--options",
            "run.seed=1",
        ]
    )
    text = capsys.readouterr().out
    assert code == 0
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    for line in (
        "--nodes=4",
        "--signal=TERM@120",
        "-eq 143",
        "scontrol requeue",
        "'run.job_id=a b'",
    ):
        assert line in text
    rank = slurm.command("job", ["--cfg-path", "x.yaml", "--options", "run.seed=1"], "python")
    options = parse_args(rank[2:]).options
    assert options == ["run.seed=1", "run.job_id=job", "run.resume_ckpt_path=auto"]


def test_the_shell_launcher_is_valid(repo_root):
    path = repo_root / "launch/torchrun_multinode.sh"
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def test_a_restarted_run_takes_its_own_folder_again(tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    (tmp_path / "latest").symlink_to("first")

    class Config(Namespace):
        def get(self, name):
            return getattr(self, name, None)

    config = Config(output_dir=str(tmp_path), job_id=None, resume_ckpt_path=None)
    assert launch.resolve_job(config) != "first"
    assert config.resume_ckpt_path is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert launch.resolve_job(config) == "first"
    assert config.resume_ckpt_path == "auto"
    config.job_id = "named"
    assert launch.resolve_job(config) == "named"
    assert get_rank() == 0


def test_a_reason_for_test_final_is_text_whatever_it_holds():
    from lavis.config.sources import parse_options

    reason = 'table 2: [final], "quoted", a=b'
    args = parse_args(["--cfg-path", "x.yaml", "--test-final", reason], evaluate_only=True)
    assert parse_options(args.options).run == {"evaluate": True, "test_final_reason": reason}
    assert parse_args(["--cfg-path", "x.yaml"], evaluate_only=True).options == ["run.evaluate=true"]
    with pytest.raises(SystemExit):
        parse_args(["--cfg-path", "x.yaml", "--test-final", reason])


def test_a_dry_run_of_an_evaluation_is_refused(monkeypatch, repo_root):
    monkeypatch.chdir(repo_root)
    config = RunConfig.from_file("lavis/projects/bricks/eval/voxel_retrieval.yaml", [])
    with pytest.raises(ConfigError, match="a dry run plans a training"):
        run(config, evaluate_only=True, dry_run=True)
