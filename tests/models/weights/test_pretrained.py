"""Weight folders are whole and bring no code, or they are refused (figure 17 has thirty)."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from lavis.common.errors import CheckpointError, ConfigError
from lavis.models.language.llm import LanguageModel
from lavis.models.weights.foreign_code import allow_code, code_hash, is_allowed


@pytest.fixture
def folder(tiny_llama, tmp_path):
    """A copy of a tiny Llama."""
    return shutil.copytree(tiny_llama, tmp_path / "llama")


def test_whole_folders_load(folder):
    assert LanguageModel(str(folder)).hidden_size == 32


@pytest.mark.parametrize("part", ["q_proj", "lm_head", "embed_tokens", "model.norm"])
def test_absent_tensors_are_named(folder, part):
    state = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if part not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"model.llm[^$]*{part}"):
        LanguageModel(str(folder))


@pytest.mark.parametrize("sizes", [{"hidden_size": 64}, {"vocab_size": 999}, {"head_dim": 4}])
def test_other_shapes_are_refused(folder, sizes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    with pytest.raises(CheckpointError, match=r"model\.llm"):
        LanguageModel(str(folder))


def test_code_is_allowed_by_its_hash_alone(folder):
    assert code_hash(folder) is None
    (folder / "own.py").write_text("x = 1\n")
    digest = code_hash(folder)
    assert not is_allowed(folder)
    try:
        allow_code(digest, "r.yaml")
        assert is_allowed(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "more.py").write_text("")
        assert not is_allowed(folder)
    finally:
        allow_code(None, "r.yaml")


@pytest.mark.parametrize("value", [True, "all", "0" * 63, ["0" * 64]])
def test_only_a_hash_allows_code(value):
    with pytest.raises(ConfigError, match=r"model\.allowed_code"):
        allow_code(value, "r.yaml")
