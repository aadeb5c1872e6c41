"""Record the golden values: ten training steps of six recipes, and the result files of every task.

    PYTHONPATH=. .venv/bin/python tests/golden/record.py --out /tmp/golden            # record
    PYTHONPATH=. .venv/bin/python tests/golden/record.py --out tests/golden/values    # accept (AMD)
    PYTHONPATH=. .venv/bin/python tests/golden/record.py --check --only demo_stage1   # compare
    PYTHONPATH=. .venv/bin/python tests/golden/record.py --models                # new checkpoints

One thread and one process, so that a machine repeats its values to the bit. `test_golden.py`
records again and compares. Kinds of CPU round differently in bfloat16: `values` is of an AMD CPU
with AVX-512, `values_avx2` of one without, `values_amx` of an Intel one with AMX and `values_intel`
of one without. Accept new values only for a change that is meant to change them, and say so in the
commit; delete the folders of the kinds that are not at hand. The checkpoints of `models/` are tiny
and are not recorded again with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODELS = HERE / "models"
COMMITTED = [
    folder
    for folder in (HERE / name for name in ("values", "values_amx", "values_avx2", "values_intel"))
    if folder.is_dir()
]
PARTS, POINTS = 240, 512
STEPS = 10
BRICKS, CONTRASTIVE = "lavis/projects/bricks", "lavis/projects/point_llm_contrastive"
# What differs between two launches of the same evaluation.
UNSTABLE = ("git_commit", "git_dirty", "config_hash", "checkpoint_hash", "date", "seconds")

# recipe, objects per step, options
TRAINED = {
    "demo_stage1": (f"{BRICKS}/train/demo_stage1.yaml", 8, ()),
    "demo_stage2": (f"{BRICKS}/train/demo_stage2.yaml", 4, ("model.pretrained=null",)),
    "pretrain_encoder": (f"{BRICKS}/train/pretrain_encoder.yaml", 8, ()),
    "stage1_generative": (f"{CONTRASTIVE}/train/stage1_generative.yaml", 8, ()),
    "stage1_contrastive": (f"{CONTRASTIVE}/train/stage1_contrastive.yaml", 8, ()),
    "mixcon3d": (
        "lavis/projects/mixcon3d/train/bricks.yaml",
        8,
        (
            *(f"model.text_teacher={MODELS / 'bert'}", "model.embed_dim=32"),
            "datasets.bricks_caption.build_info.image_embeds={views}",
            "run.evaluations.pairs=null",
        ),
    ),
}
ENCODER = {
    "trans_dim": 24,
    "depth": 1,
    "num_heads": 2,
    "group_size": 8,
    "num_group": 16,
    "encoder_dims": 16,
    "stem_dims": "[8,16,16]",
}
TINY_ENCODER = [f"model.point_encoder.{key}={value}" for key, value in ENCODER.items()]
QFORMER = (f"model.qformer_bert={MODELS / 'bert'}", "model.num_query_token=4")
LLM = (f"model.llm={MODELS / 'llm'}", "model.llm_dtype=float32")
STAGE2 = (*QFORMER, *LLM, "model.draft_length=4")
NO_WEIGHTS = "model.point_encoder_weights=null"
SHORT = ("run.max_len=8", "run.min_len=1")
# name of the evaluation: recipe, options
EVALUATED = {
    "retrieval": (f"{BRICKS}/eval/retrieval.yaml", (*QFORMER, "stage1")),
    "retrieval_colored": (f"{BRICKS}/eval/retrieval_colored.yaml", (*QFORMER, "stage1")),
    "classification": (f"{BRICKS}/eval/demo_classification.yaml", (*QFORMER, "stage1")),
    "encoder_classification": (
        f"{BRICKS}/eval/encoder_classification.yaml",
        (f"model.text_tower={MODELS / 'bert'}", "encoder"),
    ),
    "captioning": (f"{BRICKS}/eval/demo_captioning.yaml", (*STAGE2, "stage2", *SHORT)),
    "qa": (f"{BRICKS}/eval/demo_qa.yaml", (*STAGE2, "stage2", *SHORT)),
    "qa_rank": (
        f"{BRICKS}/eval/demo_qa.yaml",
        (*STAGE2, "stage2", "run.qa_mode=rank", "run.qa_candidates=4"),
    ),
    "generative_classification": (
        "tests/golden/generative_classification.yaml",
        (*STAGE2, "stage2", *SHORT),
    ),
    "alignment": (f"{CONTRASTIVE}/eval/alignment.yaml", (*LLM, "projector")),
    "alignment_point_blip": (
        f"{CONTRASTIVE}/eval/alignment_point_blip.yaml",
        (*QFORMER, "stage1"),
    ),
    # every task of joint embeddings in one launch, for three models
    "embedding": (
        f"{BRICKS}/eval/embedding.yaml",
        (*QFORMER, "stage1", "run.evaluations.classification.controls=[box_shell]"),
    ),
    "encoder_embedding": (
        f"{BRICKS}/eval/encoder_embedding.yaml",
        (f"model.text_tower={MODELS / 'bert'}", "encoder"),
    ),
    "contrastive_embedding": (f"{CONTRASTIVE}/eval/embedding.yaml", (*LLM, "projector")),
    "contrastive_captioning": (f"{CONTRASTIVE}/eval/captioning.yaml", (*LLM, "projector", *SHORT)),
}
CHECKPOINTS = ("stage1", "stage2", "encoder", "projector")


def machine() -> dict[str, str]:
    """Return what decides the last bits of a result: libraries and the CPU's instructions."""
    import torch

    flags = ""
    if os.path.isfile("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = dict(line.split(":", 1) for line in lines if ":" in line)
        found = {key.strip(): value.strip() for key, value in named.items()}
        wanted = ("avx", "fma", "amx")
        flags = " ".join(f for f in sorted(found.get("flags", "").split()) if f.startswith(wanted))
        flags = f"{found.get('vendor_id', '')} {found.get('model', '')} {flags}"
    return {"torch": torch.__version__, "machine": platform.machine(), "cpu": flags}


def committed_values() -> Path:
    """Return the committed values of the CPU that is most like this one."""
    own = set(machine()["cpu"].split())

    def different(folder: Path) -> int:
        of_folder = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
        return len(own ^ set(of_folder["cpu"].split()))

    return min(COMMITTED, key=different)


class Recorder:
    """Runs recipes in this process, on a small preparation of the bricks.

    Args:
        work: folder for the prepared data and the outputs.
    """

    def __init__(self, work: Path) -> None:
        os.environ["LAVIS_CACHE_ROOT"] = str(work / "cache")
        os.chdir(ROOT)
        self.output, self.views = work / "output", work / "views.safetensors"

    def launch(self, recipe: str, options: list[str], job: str, evaluate: bool) -> Path:
        """Run a recipe as `train.py` does and return its folder."""
        from lavis.common.registry import registry

        import lavis  # noqa: F401  (registers everything; reads LAVIS_CACHE_ROOT)
        from lavis.config.run_config import RunConfig
        from train import run

        text = (ROOT / recipe).read_text(encoding="utf-8")
        datasets = [name for name in registry.list_datasets() if f"\n  {name}:" in text]
        points = [f"datasets.{name}.build_info.points" for name in datasets]
        options = [f"{name}.num_objects={PARTS}" for name in points] + options
        options += [f"{name}.num_points={POINTS}" for name in points]
        options += [f"run.output_dir={self.output}", f"run.job_id={job}", "run.num_threads=1"]
        options += ["run.evaluate=true"] if evaluate else []
        run(RunConfig.from_file(recipe, options), evaluate_only=evaluate, dry_run=False)
        return self.output / job

    def steps(self, name: str) -> list[dict[str, float]]:
        """Train ten steps of a recipe; returns losses and gradient norm of each."""
        recipe, batch, options = TRAINED[name]
        if any("{views}" in option for option in options):
            save_random_views(self.views)
        options = tuple(option.format(views=self.views) for option in options)
        steps = [f"run.max_steps={STEPS}", "run.log_freq=1", "run.valid_splits=[]"]
        steps += [f"run.batch_size_train={batch}", "run.resume_ckpt_path=null"]
        job = self.launch(recipe, [*options, *steps], f"steps_{name}", evaluate=False)
        lines = (job / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row["kind"] == "train"]
        return [
            {k: v for k, v in row.items() if k.startswith(("loss", "grad", "temp"))} for row in rows
        ]

    def results(self, name: str) -> dict[str, Any]:
        """Evaluate a tiny checkpoint; returns its result files by name."""
        recipe, options = EVALUATED[name]
        weights = next(option for option in options if option in CHECKPOINTS)
        kept = [option for option in options if option != weights]
        tiny = [*kept, *TINY_ENCODER, "run.batch_size_eval=5", f"run.job_id={name}"]
        tiny = tiny[:-1] + ([NO_WEIGHTS] if weights != "encoder" else [])
        tiny += [f"model.finetuned={MODELS / weights}.pth", "model.pretrained=null"]
        tiny += ["run.resume_ckpt_path=null"]
        folder = self.launch(recipe, tiny, name, evaluate=True) / "result"
        files = sorted(folder.glob("*.json"))
        contents = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
        for content in contents.values():
            if isinstance(content, dict):
                for key in UNSTABLE:
                    content.pop(key, None)
        return contents


def record(out: Path, names: list[str] | None = None) -> None:
    """Write `machine.json`, `steps/<recipe>.json` and `results/<evaluation>.json`."""
    with tempfile.TemporaryDirectory() as work:
        recorder = Recorder(Path(work))
        for kind, known, make in (
            ("steps", TRAINED, recorder.steps),
            ("results", EVALUATED, recorder.results),
        ):
            for name in known:
                if names is None or name in names:
                    write_json(out / kind / f"{name}.json", make(name))
        write_json(out / "machine.json", machine())


def check(names: list[str] | None = None) -> int:
    """Record, print every value that is not the committed one to the last bit; returns 0 or 1."""
    changed = []
    with tempfile.TemporaryDirectory() as out:
        record(Path(out), names)
        for path in sorted(Path(out).glob("*/*.json")):
            name = str(path.relative_to(out))
            was, now = (json.loads((p / name).read_text()) for p in (committed_values(), Path(out)))
            changed += differences(was, now, exact=True, where=name)
    print("\n".join(changed) or "equal to the last bit")
    return 1 if changed else 0


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, one row a line where it is a list of steps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def differences(
    was: Any, now: Any, exact: bool, where: str = "", tolerance: float = 1e-3
) -> Iterator[str]:
    """Yield where two JSON values differ.

    Args:
        was, now: parsed JSON.
        exact: compare numbers to the last bit; else within `tolerance` of their size, and texts
            not at all (a greedy choice may turn on another machine).
    """
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            if key not in was or key not in now:
                yield f"{where}/{key}: only in the {'committed' if key in was else 'new'} values"
            else:
                yield from differences(was[key], now[key], exact, f"{where}/{key}", tolerance)
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now) and exact:
            yield f"{where}: {len(was)} entries were, {len(now)} are"
        for index, pair in enumerate(zip(was, now)):
            yield from differences(*pair, exact, f"{where}/{index}", tolerance)
    elif isinstance(was, (int, float)) and isinstance(now, (int, float)):
        allowed = 0.0 if exact else tolerance * max(1.0, abs(was))
        if not (abs(was - now) <= allowed or was == now or (was != was and now != now)):
            yield f"{where}: {was!r} was, {now!r} is"
    elif was != now and (exact or type(was) is not type(now)):
        yield f"{where}: {was!r} was, {now!r} is"


def make_models() -> None:
    """Write the tiny text tower, language model and checkpoints of `models/`."""
    import torch

    shutil.rmtree(MODELS, ignore_errors=True)
    save_tiny_bert(MODELS / "bert")
    save_tiny_llm(MODELS / "llm")
    with tempfile.TemporaryDirectory() as work:
        recorder = Recorder(Path(work))
        few = ["run.max_steps=12", "run.warmup_steps=2", "run.batch_size_train=16"]
        few += ["run.resume_ckpt_path=null", "run.init_lr=3e-3", "run.lr_multipliers={}"]
        few += ["run.valid_splits=[]", *TINY_ENCODER]
        free = ["model.freeze_point_encoder=false"]
        recipes = {
            "stage1": (f"{BRICKS}/train/demo_stage1.yaml", [*QFORMER, NO_WEIGHTS, *free]),
            "stage2": (
                f"{BRICKS}/train/demo_stage2.yaml",
                [
                    *(*STAGE2, NO_WEIGHTS, *free, f"model.pretrained={MODELS / 'stage1.pth'}"),
                    "model.may_start_fresh=[llm_proj,draft]",
                ],
            ),
            "encoder": (
                f"{BRICKS}/train/pretrain_encoder.yaml",
                [f"model.text_tower={MODELS / 'bert'}"],
            ),
            "projector": (f"{CONTRASTIVE}/train/stage1_generative.yaml", [*LLM, NO_WEIGHTS]),
        }
        for name, (recipe, options) in recipes.items():
            job = recorder.launch(recipe, [*few, *options], name, evaluate=False)
            saved = torch.load(job / "checkpoint_last.pth", weights_only=True)
            torch.save({"model": saved["model"]}, MODELS / f"{name}.pth")


def save_random_views(path: Path) -> None:
    """Write embeddings of two views of three quarters of the parts, as wide as the tiny BERT."""
    import torch
    from safetensors.torch import save_file

    from lavis.datasets.download_scripts.bricks_split import read_frozen

    ids = [name for row, name in enumerate(sorted(read_frozen())) if row % 4]
    embeds = torch.randn(len(ids), 2, 32, generator=torch.Generator().manual_seed(0))
    save_file({"image_embeds": embeds}, path, {"ids": json.dumps(ids)})


def save_tiny_bert(folder: Path) -> None:
    """Write a BERT of 3 layers x 32 that reads letters and digits."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    letters = string.ascii_lowercase + string.digits
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *string.punctuation]
    words += [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), do_lower_case=True, model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)


def save_tiny_llm(folder: Path) -> None:
    """Write a Llama of 2 layers x 32 that reads bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=None,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="folder of the values")
    parser.add_argument("--models", action="store_true", help="make the tiny checkpoints again")
    parser.add_argument("--only", nargs="+", help="recipes and evaluations by name")
    parser.add_argument("--check", action="store_true", help="compare with the committed values")
    args = parser.parse_args()
    if args.models:
        make_models()
    if args.check:
        sys.exit(check(args.only))
    if args.out:
        record(args.out, args.only)
