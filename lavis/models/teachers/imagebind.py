"""ImageBind and CLAP as teachers by name.

    ImageBindTeacher("imagebind:/models/imagebind_huge.pth@/models/clip-vit-base-patch32")
    ClapTeacher("clap:/models/clap-htsat-unfused")

ImageBind's tokens are CLIP's: behind "@" is a folder with a tokenizer of CLIP. Images, texts and
sounds share ImageBind's space; CLAP embeds texts and sounds in a space of its own, which CLIP's
embeddings cannot be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError
from lavis.common.files import file_sha256
from lavis.models.teachers.clip import CLIP_MEAN, CLIP_STD, pooled, prepared, space_of
from lavis.models.teachers.imagebind_network import ImageBindNetwork
from lavis.models.teachers.teacher import Teacher
from lavis.models.weights.pretrained import load_model, load_part

CACHE_SIZE = 65_536
RATE = 16_000  # of the clips that teachers get
IMAGEBIND, CLAP = "imagebind:", "clap:"
_CLIPS, _SECONDS, _FRAMES = 3, 2, 204  # of a sound; the embedding is their mean
_MEAN, _STD = -4.268, 9.138  # of log-mel spectrograms
_PIXELS = 224


class ImageBindTeacher(Teacher):
    """A frozen ImageBind that embeds texts, images and sounds.

    Args:
        name: `imagebind:<checkpoint>@<folder of a CLIP tokenizer>`.
        cache_size: texts whose embeddings are kept.
        key: the yaml key or flag that named it, for messages.
        heads: of attention by modality; None: those of imagebind_huge.

    Raises:
        CheckpointError: a file is absent, damaged or of another model.
    """

    modality = "text"

    def __init__(
        self,
        name: str,
        cache_size: int = CACHE_SIZE,
        key: str = "model.text_teacher",
        heads: dict[str, int] | None = None,
    ) -> None:
        super().__init__(cache_size)
        from transformers import ASTFeatureExtractor, AutoTokenizer

        path, at, folder = name.removeprefix(IMAGEBIND).rpartition("@")
        if not at or not Path(path).is_file():
            what, expected = "no checkpoint of ImageBind", f"{IMAGEBIND}<checkpoint>@<CLIP folder>"
            fix = "download imagebind_huge.pth (its licence is CC BY-NC-SA 4.0)"
            raise CheckpointError(what, where=f"{key}: {name}", expected=expected, fix=fix)
        payload = load_checkpoint_file(path, key)
        self.network = ImageBindNetwork(payload.get("model", payload), heads)
        self.tokenizer: Any = load_part(AutoTokenizer, folder, key, local_files_only=True)
        self.longest, self.embed_dim = self.network.longest_text, self.network.embed_dim
        self.spectrogram: Any = ASTFeatureExtractor(max_length=_FRAMES, do_normalize=False)
        self.space = f"imagebind:{file_sha256(path)[:12]}"
        self.eval()

    def encode(self, inputs: Sequence[str]) -> Tensor:
        """Embed texts: unit float32 [B,E]."""
        options = {"truncation": True, "max_length": self.longest}
        rows = [torch.tensor(ids) for ids in self.tokenizer(list(inputs), **options)["input_ids"]]
        # Zeros behind the end token, as the release pads: causal attention never reads them.
        ids = torch.stack([F.pad(row, (0, self.longest - len(row))) for row in rows])
        return F.normalize(self.network.texts(ids.to(self._device)).float(), dim=-1)

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images float [B,3,H,W] in [0,1]: unit [B,E]."""
        pixels = prepared(images.to(self._device), _PIXELS, CLIP_MEAN, CLIP_STD)
        return F.normalize(self.network.images(pixels).float(), dim=-1)

    @torch.no_grad()
    def embed_sounds(self, clips: Sequence[Tensor]) -> Tensor:
        """Embed sounds float [T] at 16 kHz, each by three clips of two seconds: unit [B,E]."""
        parts = torch.stack([part for clip in clips for part in self.spectrograms(clip)])
        embeds = F.normalize(self.network.sounds(parts.to(self._device)).float(), dim=-1)
        return F.normalize(embeds.unflatten(0, (len(clips), _CLIPS)).mean(1), dim=-1)

    def spectrograms(self, clip: Tensor) -> Tensor:
        """Return the normalised log-mel spectrograms [3,128,204] of a sound's three clips."""
        length = _SECONDS * RATE
        step = max(len(clip) - length, 0) / (_CLIPS - 1)
        parts = [clip[int(k * step) : int(k * step) + length] for k in range(_CLIPS)]
        waves = [(part - part.mean()).cpu().float().numpy() for part in parts]
        found = self.spectrogram(waves, sampling_rate=RATE, return_tensors="np")["input_values"]
        mels = torch.from_numpy(np.asarray(found, np.float32)).transpose(1, 2)  # [3,128,204]
        return (mels - _MEAN) / _STD

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


class ClapTeacher(Teacher):
    """A frozen CLAP of transformers that embeds texts and sounds.

    Args:
        name: `clap:<folder or hub name>`; a hub name is read from the local cache alone.
        cache_size: texts whose embeddings are kept.
        key: the yaml key or flag that named it, for messages.

    Raises:
        CheckpointError: the model cannot be loaded without the network.
    """

    modality = "text"

    def __init__(
        self, name: str, cache_size: int = CACHE_SIZE, key: str = "model.text_teacher"
    ) -> None:
        super().__init__(cache_size)
        from transformers import AutoFeatureExtractor, AutoTokenizer, ClapModel

        path = name.removeprefix(CLAP)
        self.net: Any = load_model(ClapModel, path, key, local_files_only=True)
        self.tokenizer: Any = load_part(AutoTokenizer, path, key, local_files_only=True)
        self.extractor: Any = load_part(AutoFeatureExtractor, path, key, local_files_only=True)
        self.embed_dim, self.space = int(self.net.config.projection_dim), space_of(path)
        self.requires_grad_(False).eval()

    def encode(self, inputs: Sequence[str]) -> Tensor:
        """Embed texts: unit float32 [B,E]."""
        tokens = self.tokenizer(list(inputs), padding=True, truncation=True, return_tensors="pt")
        named = {name: tokens[name].to(self.net.device) for name in ("input_ids", "attention_mask")}
        return F.normalize(pooled(self.net.get_text_features(**named)).float(), dim=-1)

    @torch.no_grad()
    def embed_sounds(self, clips: Sequence[Tensor]) -> Tensor:
        """Embed sounds float [T] at 16 kHz, brought to the model's rate: unit [B,E]."""
        from scipy.signal import resample_poly  # slow to import

        rate = int(self.extractor.sampling_rate)
        common = int(np.gcd(rate, RATE))
        waves = [
            resample_poly(clip.cpu().numpy(), rate // common, RATE // common) for clip in clips
        ]
        inputs = self.extractor(waves, sampling_rate=rate, return_tensors="pt")
        inputs = {name: value.to(self.net.device) for name, value in inputs.items()}
        return F.normalize(pooled(self.net.get_audio_features(**inputs)).float(), dim=-1)
