"""The sound network: its spectrogram, clips of any length, and heads that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import resample_poly

from lavis.common.errors import CheckpointError, ShapeError
from lavis.models.teachers.audio import FEATURES, SoundNetwork, SoundTeacher
from lavis.models.teachers.head import FeatureHead

RATE = 16000


@pytest.fixture(scope="module")
def network() -> SoundNetwork:
    return SoundNetwork()


def tone(seconds: float, pitch: float = 440.0) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return 0.3 * torch.sin(2 * torch.pi * pitch * time)


def reference(clip: np.ndarray) -> np.ndarray:
    """Return aiSFX' log-mel spectrogram [frames,96] by loops over frames and triangles."""
    samples = resample_poly(clip.astype(np.float64), 441, 160)
    samples = np.pad(samples / np.abs(samples).max(), 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    starts = range(0, len(samples) - 2047, 1024)
    power = np.array([abs(np.fft.rfft(samples[s : s + 2048] * window)) ** 2 for s in starts])
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 22050 / 700), 98) / 2595) - 1)
    bins = np.linspace(0, 22050, 1025)
    mel = []
    for low, middle, high in zip(edges, edges[1:], edges[2:]):
        rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
        weights = np.maximum(0, np.minimum(rising, falling))
        mel.append(power @ (weights / weights.sum()))
    return np.log10(1e4 * np.array(mel).T + 1) / 9.457798957824707


def test_the_spectrogram_is_that_of_aisfx(network):
    clip = tone(0.5) + 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    expected = reference(clip.numpy())
    (block,) = network.blocks(clip)
    assert block.shape == (100, 96)
    np.testing.assert_allclose(block[: len(expected)], expected, atol=2e-4)
    assert not block[len(expected) :].any()


@pytest.mark.parametrize(("seconds", "blocks"), [(0.05, 1), (2.0, 1), (2.4, 2), (5.0, 4)])
def test_clips_of_any_length_are_blocks_half_over_half(network, seconds, blocks):
    assert network.blocks(tone(seconds)).shape == (blocks, 100, 96)
    features = network([tone(seconds)])
    assert features.shape == (1, FEATURES)
    assert features.isfinite().all()


def test_loudness_does_not_matter_and_a_batch_is_its_clips(network):
    quiet, loud = network([0.01 * tone(1), 3 * tone(1)])
    torch.testing.assert_close(quiet, loud, rtol=1e-3, atol=1e-3)
    both = network([tone(0.3), tone(1, 880)])
    torch.testing.assert_close(both[1], network([tone(1, 880)])[0])


@pytest.mark.parametrize("shape", [(0,), (2, 100)])
def test_other_shapes_are_refused(network, shape):
    with pytest.raises(ShapeError, match=r"\[T\]"):
        network([torch.zeros(shape)])


def test_a_head_embeds_sounds_in_its_space(tmp_path):
    path = tmp_path / "head.safetensors"
    save_file(FeatureHead(FEATURES, 8, 16).state_dict(), path, {"space": "minilm@mean"})
    teacher = SoundTeacher(path)
    assert (teacher.space, teacher.embed_dim, teacher.modality) == ("minilm@mean", 8, "audio")
    embeds = teacher([tone(0.5), tone(1)])
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(2))
    assert not any(p.requires_grad for p in teacher.parameters())


def test_heads_of_images_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    save_file(FeatureHead(1280, 8).state_dict(), path, {"space": "minilm@mean"})
    with pytest.raises(CheckpointError, match="train_sound_head"):
        SoundTeacher(path)
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="train_sound_head"):
        SoundTeacher(path)
