"""Sounds in a space of sentences: the features of aiSFX and a head that train_sound_head.py trains.

aiSFX (Ma and Lerch, ISMIR 2022) is a CNN on log-mel spectrograms, trained to classify sound
effects; network and weights arrive by pip. Clips are what `lavis/datasets/fields/audio.py` gives:
mono at 16 kHz, neither silent nor shorter than 0.05 s, brought here to 44.1 kHz. There is nothing
above 8 kHz in them, which the network was trained with; and names of presets are few, so the head
knows instruments, some animals and little else.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lavis.common.errors import CheckpointError, DependencyError, ShapeError
from lavis.models.teachers.head import FeatureHead, read_head
from lavis.models.teachers.teacher import Teacher

FEATURES = 512
RATE, INPUT_RATE = 44100, 16000
FFT, HOP, MELS = 2048, 1024, 96
BLOCK = 100  # frames that the network reads at once, 2.3 s
_MAXIMUM = 9.457798957824707  # of the spectrograms that the network was trained with
_HEAD_FIX = "python -m lavis.models.teachers.train_sound_head"
_FIX = "pip install --no-deps -r requirements-nodeps.txt"


class SoundNetwork(nn.Module):
    """The frozen network of aiSFX on clips.

    Raises:
        DependencyError: aisfx is not installed.
        CheckpointError: the installed weights are damaged.
    """

    mels: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        bank = mel_filter_bank(FFT // 2 + 1, MELS, 0.0, RATE / 2, RATE, None, "htk")
        self.register_buffer("mels", torch.from_numpy(bank / bank.sum(0)).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.net = _installed_network()
        self.requires_grad_(False).eval()

    def forward(self, clips: Sequence[Tensor]) -> Tensor:
        """Return the features [B,512] of clips float [T] at 16 kHz, the mean over blocks.

        Raises:
            ShapeError: a clip of another shape, or without samples.
        """
        return torch.stack([self.net(self.blocks(clip)).mean(0) for clip in clips])

    def blocks(self, clip: Tensor) -> Tensor:
        """Return the normalised log-mel spectrogram of a clip in blocks [K,100,96], half over half.

        The end is padded with zeros, as by aiSFX.
        """
        if clip.ndim != 1 or not len(clip):
            raise ShapeError("a clip has another shape", got=list(clip.shape), expected="[T]")
        samples = _resampled(clip).to(self.window)
        samples = samples / samples.abs().max().clamp(min=1e-8)
        spectrum = torch.stft(
            samples, FFT, HOP, window=self.window, pad_mode="constant", return_complex=True
        )
        mel = spectrum.abs().square().T @ self.mels  # [frames,96]
        logarithms = torch.log10(1e4 * mel + 1) / _MAXIMUM
        step = BLOCK // 2
        count = max(-(-(len(logarithms) - BLOCK) // step), 0) + 1
        padded = logarithms.new_zeros((count - 1) * step + BLOCK, MELS)
        padded[: len(logarithms)] = logarithms
        return padded.unfold(0, BLOCK, step).transpose(1, 2)


def _resampled(clip: Tensor) -> Tensor:
    """Bring a clip from 16 to 44.1 kHz."""
    from scipy.signal import resample_poly  # slow to import

    common = int(np.gcd(RATE, INPUT_RATE))
    samples = clip.detach().cpu().double().numpy()
    return torch.from_numpy(resample_poly(samples, RATE // common, INPUT_RATE // common)).float()


def _installed_network() -> Any:
    try:
        from aisfx.inference import get_path_modelWeights
        from aisfx.models.cnn2d import EmbeddingNet
    except ImportError as error:
        what = "the built-in sound network is not installed"
        raise DependencyError(what, got=error.name, fix=_FIX) from error
    path, net = get_path_modelWeights(), EmbeddingNet("max", 3, 1, 64)
    scalar = importlib.import_module("numpy._core.multiarray").scalar  # private in numpy 2
    known = [(scalar, "numpy.core.multiarray.scalar")]
    try:
        # Beside the weights are numbers of classes, as scalars of numpy.
        with torch.serialization.safe_globals([*known, np.dtype, np.dtypes.Int64DType]):
            weights, _ = torch.load(path, map_location="cpu", weights_only=True)
        prefix = "embedding_net."
        own = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        net.load_state_dict(own)
    except (OSError, RuntimeError, ValueError, AttributeError, UnpicklingError) as error:
        what = "the built-in sound weights are damaged"
        raise CheckpointError(what, where=path, got=str(error), fix=_FIX) from error
    return net


def read_sound_head(path: Path) -> tuple[FeatureHead, str]:
    """Return the head in a file and the name of its space.

    Raises:
        CheckpointError: no such file, a damaged one, or another content.
    """
    return read_head(path, FEATURES, _HEAD_FIX)


class SoundTeacher(Teacher):
    """Sounds among sentence embeddings, by a head that train_sound_head.py trained.

    Args:
        path: of the head.

    Raises:
        CheckpointError: no such file, a damaged one, or another content.
        DependencyError: aisfx is not installed.
    """

    modality = "audio"

    def __init__(self, path: Path) -> None:
        super().__init__(cache_size=0)
        self.head, self.space = read_sound_head(path)
        self.embed_dim = self.head.width
        self.network = SoundNetwork()
        self.requires_grad_(False).eval()

    def encode(self, inputs: Sequence[Tensor]) -> Tensor:
        """Embed clips float [T] at 16 kHz: unit [B,E]."""
        return self.from_features(self.network(inputs))

    def from_features(self, features: Tensor) -> Tensor:
        """Embed by features [B,512] that were computed before: unit [B,E]."""
        return self.head(features)
