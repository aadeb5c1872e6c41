"""Export a run as a Hugging Face folder that loads offline.

    python -m lavis.evaluation.sharing --run output/demo/stage2 --out output/hub/demo
    python -m lavis.evaluation.sharing --run output/demo/stage2 --out output/hub/demo \\
        --scores docs/results/demo_qa.json --license mit
    python -m lavis.evaluation.sharing --run ... --out ... --distributed-checkpoint

Writes model.safetensors, config.json, README.md (the card), training_config.yaml, and a copy of
every result file that the card quotes. Only scores of the exported checkpoint are quoted, by its
hash. A frozen language model is not copied; its adapters are. Nothing is uploaded.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lavis.common.checkpoint import write_text_atomic
from lavis.common.command import command_parser, report_errors
from lavis.common.errors import PointLanguageError, StorageError
from lavis.common.utils import get_cache_path
from lavis.evaluation.run_records import RunRecord
from lavis.evaluation.sharing.card import model_card
from lavis.evaluation.sharing.run import TrainedRun, own_scores, read_run
from lavis.models.abilities import Answerer
from lavis.models.hub import read_config
from lavis.models.hub.folder import shared_state

REMOTE_CODE = "modeling_point_language"
DISTRIBUTED = "distributed_checkpoint"
_DECODING = ("max_len", "min_len", "num_beams", "prompt")
_LICENCES = ("LICENSE", "NOTICE", "ATTRIBUTION.md")


def export(
    run: TrainedRun,
    out: Path,
    scores: Sequence[Path] | None = None,
    licence: str = "other",
    distributed: bool = False,
) -> Path:
    """Write the folder of a run.

    Args:
        run: the run.
        out: folder; new, empty, or of an earlier export.
        scores: result files or folders; None: those beside the run.
        licence: of the weights, for the card.
        distributed: also write a torch.distributed.checkpoint.

    Raises:
        PointLanguageError: see `read_run`, `own_scores`; a folder with other files.
    """
    _check_out(out)
    records = own_scores(run, scores)
    model = run.build()
    model.hub_section = run.section
    model.hub_extra = _extra(run, model)
    model.save_pretrained(out)
    shutil.copyfile(run.folder / "config.yaml", out / "training_config.yaml")
    if "auto_map" in model.hub_extra:
        source = Path(__file__).with_name("remote_code.py")
        shutil.copyfile(source, out / f"{REMOTE_CODE}.py")
    if distributed:
        save_distributed(shared_state(model), out / DISTRIBUTED)
    listed = [(record, _copy_score(record, out)) for record in records]
    facts = _facts(run, model, licence, _copy_licences(run, out))
    write_text_atomic(out / "README.md", model_card(read_config(out), listed, facts))
    return out


def save_distributed(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write tensors as a torch.distributed.checkpoint, which any number of ranks can read."""
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": dict(state)}, checkpoint_id=folder, no_dist=True)


def _check_out(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_export(out))):
        fix = "name a new folder"
        raise StorageError("the folder holds other files", where=f"--out {out}", fix=fix)


def _is_export(out: Path) -> bool:
    try:
        read_config(out)
    except PointLanguageError:
        return False
    return True


def _extra(run: TrainedRun, model: Any) -> dict[str, Any]:
    """Return the keys of config.json beside the section; auto_map for stage 2."""
    options = {key: run.config["run"][key] for key in _DECODING if key in run.config["run"]}
    extra: dict[str, Any] = {"preprocess": run.preprocess, "run": options}
    if Answerer in model.abilities:
        module = f"{REMOTE_CODE}.PointLanguage"
        names = {"AutoConfig": f"{module}Config", "AutoModel": f"{module}Model"}
        extra |= {"model_type": "point_language", "auto_map": names}
    return extra


def _copy_score(record: RunRecord, out: Path) -> str:
    """Copy a result file into the folder and return its name there."""
    source = Path(record.where)
    folder = source.parent.parent.name if source.parent.name == "result" else ""
    name = f"scores/{folder}_{source.name}" if folder else f"scores/{source.name}"
    (out / "scores").mkdir(exist_ok=True)
    shutil.copyfile(source, out / name)
    return name


def _copy_licences(run: TrainedRun, out: Path) -> list[str]:
    """Copy licence and attribution of each prepared data set; return the names in the folder."""
    copied = []
    for folder in _data_folders(run):
        for source in (folder / name for name in _LICENCES):
            if source.is_file():
                target = f"data_licences/{folder.name}_{source.name}"
                (out / target).parent.mkdir(exist_ok=True)
                shutil.copyfile(source, out / target)
                copied.append(target)
    return copied


def _data_folders(run: TrainedRun) -> list[Path]:
    """Return the prepared folders of the run's data sets."""
    points = [data.get("build_info", {}).get("points") for data in run.config["datasets"].values()]
    named = [part.get("storage") for part in points if isinstance(part, Mapping)]
    return [Path(get_cache_path(name)) for name in dict.fromkeys(named) if name]


def _facts(run: TrainedRun, model: Any, licence: str, data: Sequence[str]) -> dict[str, str]:
    """Return what the card prints of a run."""
    arch, summary = run.config["model"]["arch"], inspect.getdoc(type(model)) or ""
    files = ", ".join(f"[{name}]({name})" for name in data)
    return {
        "title": f"{arch}: {run.folder.parent.name}/{run.folder.name}",
        "summary": summary.split("\n")[0],
        "run": f"{run.folder.parent.name}/{run.folder.name}",
        "seed": str(run.config["run"].get("seed")),
        "checkpoint": run.checkpoint_hash,
        "licence": licence,
        "data_licence": files or "see the source of the data sets in training_config.yaml",
    }


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the folder is written."""
    parser = command_parser(__doc__, "python -m lavis.evaluation.sharing")
    parser.add_argument("--run", required=True, type=Path, help="a job's folder, with checkpoint")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write")
    help_scores = "result files or folders (default: the jobs beside the run)"
    parser.add_argument("--scores", nargs="+", type=Path, help=help_scores)
    parser.add_argument("--license", default="other", help="of the weights, as the hub names it")
    parser.add_argument("--distributed-checkpoint", action="store_true", help="for other trainers")
    options = parser.parse_args(arguments)
    run = read_run(options.run)
    chosen = (options.scores, options.license, options.distributed_checkpoint)
    out = export(run, options.out, *chosen)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")
    return 0
