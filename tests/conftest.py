"""Fixtures shared by all tests: tiny clouds, a tiny BERT, tiny language models on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not torch.cuda.is_available():
    # Read when triton is imported, which any test may do first: its kernels then run on the CPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(max(1, min(2, os.cpu_count() or 1)))

CAPTIONS = [
    "a red brick 2 x 4",
    "a blue plate 1 x 2 with groove",
    "a white minifig hat",
    "a black technic beam 3 x 5 bent",
]


@pytest.fixture(scope="session")
def launch_ranks() -> Callable[[Path, Path, int], list[dict]]:
    """Run a worker script on so many ranks (gloo); returns the `rank<r>.json` of each."""

    def launch(worker: Path, folder: Path, processes: int) -> list[dict]:
        command = [sys.executable, str(worker), str(folder)]
        if processes > 1:
            ranks = f"--nproc_per_node={processes}"
            command[1:1] = ["-m", "torch.distributed.run", "--standalone", ranks]
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(
            command,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads((folder / f"rank{r}.json").read_text()) for r in range(processes)]

    return launch


@pytest.fixture(scope="session")
def captions() -> list[str]:
    """Four different captions."""
    return list(CAPTIONS)


@pytest.fixture
def point_cloud() -> torch.Tensor:
    """Four coloured clouds [4,64,6] in the unit sphere."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(4, 64, 3, generator=generator) * 2 - 1
    xyz = xyz / xyz.norm(dim=-1).amax(1)[:, None, None]
    return torch.cat([xyz, torch.rand(4, 64, 3, generator=generator)], -1)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of 3 layers x 32 with MiniLM's tokenizer, seeded."""
    from transformers import BertConfig, BertModel

    from lavis.models.weights.builtin import resolve_pretrained

    folder = tmp_path_factory.mktemp("tiny_bert")
    minilm = Path(resolve_pretrained("minilm"))
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(minilm / name, folder)
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def _save_tiny_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer with an end token; returns its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")
    fast.save_pretrained(folder)
    return len(vocabulary)


def _save_tiny_llm(folder: Path, config_name: str, model_name: str, **sizes: object) -> str:
    """Write a seeded language model of transformers and its tokenizer."""
    import transformers

    vocab_size = _save_tiny_tokenizer(folder)
    torch.manual_seed(0)
    config = getattr(transformers, config_name)(
        vocab_size=vocab_size, eos_token_id=0, pad_token_id=0, **sizes
    )
    getattr(transformers, model_name)(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama of 2 layers x 32."""
    return _save_tiny_llm(
        tmp_path_factory.mktemp("tiny_llama"),
        *("LlamaConfig", "LlamaForCausalLM"),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=None,
    )


@pytest.fixture(scope="session")
def tiny_opt(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An OPT of 2 layers x 32."""
    return _save_tiny_llm(
        tmp_path_factory.mktemp("tiny_opt"),
        *("OPTConfig", "OPTForCausalLM"),
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        word_embed_proj_dim=32,
        bos_token_id=0,
        dropout=0.0,
    )


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A T5 of 2 layers x 32."""
    return _save_tiny_llm(
        tmp_path_factory.mktemp("tiny_t5"),
        *("T5Config", "T5ForConditionalGeneration"),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )


@pytest.fixture(scope="session")
def tiny_encoder_cfg() -> dict:
    """Sizes of a Point-BERT that runs in milliseconds."""
    return {
        "name": "point_bert",
        "trans_dim": 24,
        "depth": 2,
        "num_heads": 2,
        "group_size": 8,
        "num_group": 8,
        "encoder_dims": 16,
        "stem_dims": [8, 16, 16],
        "point_dims": 6,
        "drop_path_rate": 0.0,
    }


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def write_json():
    """Return a function that writes an object as JSON and returns the path."""

    def write(path: Path, content: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write
