"""Figure 17: thirty folders of weights that are cut, incomplete, of other sizes or carry code."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.faults.hostile import Call
from benchmarks.faults.processes import Figure
from lavis.common.errors import CheckpointError
from lavis.models.language.llm import LanguageModel
from lavis.models.point_encoders.vision_backbone import VisionTrunk
from lavis.models.teachers import SentenceTeacher
from lavis.models.weights.foreign_code import allow_code, code_hash

WEIGHTS = "model.safetensors"
Damage = Callable[[Path, Path], None]  # of a folder; the second path is what foreign code makes


def tiny_folders(root: Path) -> dict[str, Path]:
    """Write three small models; return {kind: folder}."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        ViTConfig,
        ViTModel,
    )

    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(["</s>", *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    size["num_attention_heads"] = 4
    llama = LlamaConfig(vocab_size=len(fast), eos_token_id=0, pad_token_id=0, **size)
    made = {
        "llm": LlamaForCausalLM(llama),
        "text": BertModel(BertConfig(vocab_size=len(fast), **size)),
        "vision": ViTModel(ViTConfig(image_size=32, patch_size=16, **size)),
    }
    for name, model in made.items():
        model.save_pretrained(root / name)
        fast.save_pretrained(root / name)
    return {name: root / name for name in made}


def load(kind: str, folder: Path) -> Any:
    """Load a folder as the code base would."""
    if kind == "llm":
        return LanguageModel(str(folder))
    return SentenceTeacher(str(folder)) if kind == "text" else VisionTrunk(str(folder))


def _edit_config(**changes: Any) -> Damage:
    def damage(folder: Path, mark: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def _drop(part: str) -> Damage:
    def damage(folder: Path, mark: Path) -> None:
        state = load_file(folder / WEIGHTS)
        kept = {name: tensor for name, tensor in state.items() if part not in name}
        assert len(kept) < len(state)
        save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def _cut(name: str, share: float) -> Damage:
    def damage(folder: Path, mark: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def _write(name: str, content: bytes | Callable[[Path], bytes], weights: bool = False) -> Damage:
    """Write a file; `weights`: in place of the safetensors file."""

    def damage(folder: Path, mark: Path) -> None:
        if weights:
            (folder / WEIGHTS).unlink()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content(mark))

    return damage


def _zip_pickle(folder: Path, mark: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"lm_head.weight": Call(os.mkdir, str(mark))}, folder / "pytorch_model.bin")


def _shards(folder: Path, mark: Path) -> None:
    """Name a shard that is not there."""
    names = dict.fromkeys(load_file(folder / WEIGHTS), "model-00001-of-00002.safetensors")
    (folder / WEIGHTS).unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _transpose(folder: Path, mark: Path) -> None:
    state = load_file(folder / WEIGHTS)
    name = next(name for name, t in state.items() if t.ndim == 2 and t.shape[0] != t.shape[1])
    save_file(state | {name: state[name].T.contiguous()}, folder / WEIGHTS, {"format": "pt"})


def own_code(folder: Path, mark: Path, part: str = "model") -> None:
    """Let the folder bring code of its own, which makes `mark` when it is imported."""
    base = "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
    classes = "class C(LlamaConfig):\n    model_type = 'own'\n"
    classes += "class M(LlamaForCausalLM):\n    config_class = C\n"
    classes += "class T(PreTrainedTokenizerFast):\n    pass\n"
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n{base}{classes}")
    if part == "tokenizer":
        settings = {"auto_map": {"AutoTokenizer": [None, "own.T"]}, "tokenizer_class": "T"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "tokenizer.json").unlink()
        return
    own = {"AutoConfig": "own.C", "AutoModel": "own.M", "AutoModelForCausalLM": "own.M"}
    _edit_config(model_type="own", architectures=["M"], auto_map=own)(folder, mark)


def _pickled(mark: Path) -> bytes:
    return pickle.dumps(Call(os.mkdir, str(mark)))


VARIANTS: dict[str, tuple[str, Damage]] = {
    "llm, a layer absent": ("llm", _drop("layers.1.self_attn.q_proj")),
    "llm, head absent": ("llm", _drop("lm_head")),
    "llm, embeddings absent": ("llm", _drop("embed_tokens")),
    "llm, last norm absent": ("llm", _drop("model.norm")),
    "llm, cut in the header": ("llm", _cut(WEIGHTS, 0.001)),
    "llm, cut in the middle": ("llm", _cut(WEIGHTS, 0.5)),
    "llm, last byte absent": ("llm", _cut(WEIGHTS, 0.99999)),
    "llm, empty file": ("llm", _write(WEIGHTS, b"")),
    "llm, no tensors": ("llm", _write(WEIGHTS, struct.pack("<Q", 2) + b"{}")),
    "llm, huge header": ("llm", _write(WEIGHTS, struct.pack("<Q", 2**60) + b"{}")),
    "llm, no weights": ("llm", lambda folder, mark: (folder / WEIGHTS).unlink()),
    "llm, wider by its config": ("llm", _edit_config(hidden_size=64)),
    "llm, deeper by its config": ("llm", _edit_config(num_hidden_layers=3)),
    "llm, other vocabulary": ("llm", _edit_config(vocab_size=999)),
    "llm, a transposed tensor": ("llm", _transpose),
    "llm, a shard absent": ("llm", _shards),
    "llm, pickle named safetensors": ("llm", _write(WEIGHTS, _pickled)),
    "llm, pickle": ("llm", _write("pytorch_model.bin", _pickled, weights=True)),
    "llm, pickle in a zip": ("llm", _zip_pickle),
    "llm, own code": ("llm", own_code),
    "llm, own tokenizer": ("llm", lambda folder, mark: own_code(folder, mark, "tokenizer")),
    "llm, cut config": ("llm", _cut("config.json", 0.5)),
    "llm, config of another shape": ("llm", _write("config.json", b"[]")),
    "llm, unknown kind": ("llm", _edit_config(model_type="no_such_model")),
    "llm, cut tokenizer": ("llm", _cut("tokenizer.json", 0.5)),
    "text, a layer absent": ("text", _drop("layer.1.output")),
    "text, own code": ("text", own_code),
    "text, cut": ("text", _cut(WEIGHTS, 0.7)),
    "vision, a layer absent": ("vision", _drop(".0.")),
    "vision, own code": ("vision", own_code),
}


def attempt(name: str, folders: dict[str, Path], work: Path) -> str:
    """Load one variant; return "" when it was refused as it should be, else what happened."""
    kind, damage = VARIANTS[name]
    folder, mark = work / name.replace(", ", "-").replace(" ", "-"), work / "code-ran"
    shutil.copytree(folders[kind], folder)
    damage(folder, mark)
    try:
        load(kind, folder)
        problem = "loaded"
    except CheckpointError as error:
        problem = "" if str(folder) in str(error) else f"the folder is not named: {error}"
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error)[:200]}"
    return "its code ran" if mark.exists() else problem


def allowed_code_runs(folders: dict[str, Path], work: Path) -> bool:
    """Return whether code runs when, and only when, its hash is allowed."""
    folder, mark = work / "allowed", work / "allowed-ran"
    shutil.copytree(folders["llm"], folder)
    own_code(folder, mark)
    try:
        allow_code(code_hash(folder), "figure 17")
        load("llm", folder)
        ran = mark.is_dir()
        with open(folder / "own.py", "a", encoding="utf-8") as file:
            file.write("# changed\n")
        try:
            load("llm", folder)
        except CheckpointError:
            return ran
        return False
    finally:
        allow_code(None, "figure 17")


def fig17(folder: Path, quick: bool) -> Figure:
    """Each folder is refused by a CheckpointError that names it; whole folders load."""
    os.environ["HF_HOME"] = str(folder / "hf")  # code that were allowed would be copied there
    folders = tiny_folders(folder / "whole")
    for kind, path in folders.items():
        load(kind, path)
    names = list(VARIANTS)[:: 3 if quick else 1]
    found = {name: attempt(name, folders, folder) for name in names}
    wrong = {name: problem for name, problem in found.items() if problem}
    ran = allowed_code_runs(folders, folder)
    measured = {
        "folders": len(names),
        "refused": len(names) - len(wrong),
        "wrong": wrong,
        "allowed_by_hash_runs": ran,
    }
    return Figure(not wrong and ran, measured)
