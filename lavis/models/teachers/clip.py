"""CLIP-like teachers by name: texts and images in one space.

    ClipTeacher("clip:/models/clip-vit-base-patch32")       # CLIP or SigLIP through transformers
    ClipTeacher("siglip:/models/siglip-base-patch16-224")
    ClipTeacher("open_clip:ViT-bigG-14@/models/weights.bin")   # needs open_clip_torch

A hub name is read from the local cache alone: nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import CheckpointError, ConfigError, DependencyError, ShapeError
from lavis.common.files import file_sha256
from lavis.common.text_files import read_json
from lavis.models.teachers.prompts import (
    first_word,
    replaced_words,
    with_placeholders,
    word_ids,
)
from lavis.models.teachers.teacher import Teacher
from lavis.models.weights.pretrained import load_model, load_part

PREFIXES = ("clip:", "siglip:", "open_clip:")
CACHE_SIZE = 65_536
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipTeacher(Teacher):
    """A frozen model that embeds texts and images.

    Args:
        name: one of `PREFIXES`, then a folder or a hub name; for open_clip an architecture, "@" and
            its weights.
        cache_size: texts, and images by a hash of their pixels, whose embeddings are kept.
        key: the yaml key that named it, for messages.

    Raises:
        CheckpointError: the model cannot be loaded without the network.
        DependencyError: open_clip_torch is not installed.
    """

    modality = "text"

    def __init__(self, name: str, cache_size: int = CACHE_SIZE, key: str = "model.text_teacher"):
        super().__init__(cache_size)
        kind, _, path = name.partition(":")
        build = _OpenClip if kind == "open_clip" else _Transformers
        self.tower: _Transformers | _OpenClip = build(path, key)
        self.embed_dim, self.space = self.tower.embed_dim, self.tower.space
        self.requires_grad_(False).eval()

    def encode(self, inputs: Sequence[str]) -> Tensor:
        """Embed texts: unit float32 [B,E]."""
        return F.normalize(self.tower.texts(list(inputs)).float(), dim=-1)

    @torch.no_grad()
    def word_embeds(self, text: str) -> Tensor:
        """Return what the model reads for the tokens of a text: [M,W]."""
        reader = self._prompt_reader()
        return reader.words(word_ids(reader.tokenizer, text).to(reader.net.device))

    def encode_prompts(self, context: Tensor, names: Sequence[str]) -> Tensor:
        """Embed names behind learned words [M,W]: unit [K,E]; gradients reach the words."""
        reader = self._prompt_reader()
        with replaced_words(reader.words, context, first_word(reader.tokenizer)):
            return self.encode(with_placeholders(names, len(context)))

    def _prompt_reader(self) -> _Transformers:
        """Return the tower; ConfigError where learned words cannot be put into it."""
        if isinstance(self.tower, _Transformers):
            return self.tower
        what, where = "learned prompts cannot be read through open_clip", "model.learn_prompt"
        fix = "name clip:<folder> in transformers' layout, or model.learn_prompt=false"
        raise ConfigError(what, where=where, fix=fix)

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images float [B,3,H,W] in [0,1], those seen before from the cache: unit [B,E].

        Raises:
            ShapeError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            what, got = "images have another shape", list(images.shape)
            raise ShapeError(what, got=got, expected="[B,3,H,W]")
        keys = [_content(image) for image in images]
        known: dict[Hashable, Tensor] = {k: self._cache[k] for k in keys if k in self._cache}
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new:
            chosen = images[list(new.values())].to(next(self.parameters()).device)
            found = F.normalize(self.tower.images(chosen).float(), dim=-1)
            known |= dict(zip(new, found.cpu()))
        self._remember(known)
        return torch.stack([known[key] for key in keys]).to(next(self.parameters()).device)


def _content(image: Tensor) -> str:
    """Return a hash of the pixels, with their shape."""
    pixels = image.detach().float().cpu().contiguous()
    digest = hashlib.blake2b(str(tuple(pixels.shape)).encode(), digest_size=16)
    digest.update(pixels.numpy().tobytes())
    return f"image:{digest.hexdigest()}"


def prepared(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Resize the shorter side to `size`, cut the centre out, normalise: [B,3,size,size]."""
    height, width = images.shape[-2:]
    scale = size / min(height, width)
    shape = [max(size, round(height * scale)), max(size, round(width * scale))]
    images = F.interpolate(images, shape, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    images = images[..., top : top + size, left : left + size]
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


class _Transformers(nn.Module):
    """CLIPModel or SiglipModel of a folder."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        self.net: Any = load_model(AutoModel, path, key, local_files_only=True)
        if not all(hasattr(self.net, f"get_{kind}_features") for kind in ("text", "image")):
            what = "the folder holds no model of texts and images"
            expected = "a CLIP or SigLIP model"
            got = type(self.net).__name__
            raise CheckpointError(what, where=f"{key}: {path}", got=got, expected=expected)
        self.tokenizer: Any = load_part(AutoTokenizer, path, key, local_files_only=True)
        config = self.net.config
        self.is_siglip = "siglip" in config.model_type
        self.longest = int(config.text_config.max_position_embeddings)
        self.size = int(config.vision_config.image_size)
        width = getattr(config, "projection_dim", None) or config.vision_config.hidden_size
        self.embed_dim, self.space = int(width), space_of(path)
        self.mean, self.std = _statistics(Path(path), self.is_siglip)

    @property
    def words(self) -> nn.Module:
        """The word embedding."""
        return self.net.text_model.embeddings.token_embedding

    def texts(self, texts: list[str]) -> Tensor:
        """Embed texts [B,E]; SigLIP was trained on texts padded to its full length."""
        padding: Any = "max_length" if self.is_siglip else True
        options = {"padding": padding, "truncation": True, "max_length": self.longest}
        tokens = self.tokenizer(texts, return_tensors="pt", **options).to(self.net.device)
        inputs = {"input_ids": tokens["input_ids"]}
        if not self.is_siglip:
            inputs["attention_mask"] = tokens["attention_mask"]
        return pooled(self.net.get_text_features(**inputs))

    def images(self, images: Tensor) -> Tensor:
        """Embed images [B,3,H,W]: [B,E]."""
        pixels = prepared(images, self.size, self.mean, self.std)
        return pooled(self.net.get_image_features(pixel_values=pixels))


def pooled(output: Any) -> Tensor:
    """Return features of either kind of result of transformers."""
    return output if isinstance(output, Tensor) else output.pooler_output


def _statistics(folder: Path, is_siglip: bool) -> tuple[list[float], list[float]]:
    """Return the mean and deviation that pixels are normalised by."""
    path = folder / "preprocessor_config.json"
    half = [0.5, 0.5, 0.5]
    own = dict(read_json(path)) if path.is_file() else {}
    mean = own.get("image_mean") or (half if is_siglip else CLIP_MEAN)
    return list(mean), list(own.get("image_std") or (half if is_siglip else CLIP_STD))


def space_of(path: str) -> str:
    """Return the name of a space: of a folder its own name and weights, wherever it lies."""
    files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else []
    digest = "".join(f":{file_sha256(file)[:12]}" for file in files)
    return f"{Path(path).name if files else path}{digest}"


class _OpenClip(nn.Module):
    """A model of open_clip with local weights; its space is `openclip/<architecture>`."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__()
        arch, _, weights = path.partition("@")
        if importlib.util.find_spec("open_clip") is None:
            what = "this teacher needs open_clip"
            fix = "pip install -r requirements-open-clip.txt, or clip:<folder> through transformers"
            raise DependencyError(what, where=f"{key}: open_clip:{path}", fix=fix)
        if not Path(weights).is_file():
            what, expected = "no weights of an open_clip model", "open_clip:<architecture>@<file>"
            fix = "download the file, and name it behind @"
            where = f"{key}: open_clip:{path}"
            raise CheckpointError(what, where=where, expected=expected, fix=fix)
        import open_clip

        self.net: Any = open_clip.create_model(arch, pretrained=weights, weights_only=True)
        self.tokenizer: Any = open_clip.get_tokenizer(arch)
        visual = self.net.visual
        size = visual.image_size
        self.size = int(size if isinstance(size, int) else size[0])
        self.mean = list(getattr(visual, "image_mean", None) or CLIP_MEAN)
        self.std = list(getattr(visual, "image_std", None) or CLIP_STD)
        self.embed_dim, self.space = int(visual.output_dim), f"openclip/{arch}"

    def texts(self, texts: list[str]) -> Tensor:
        """Embed texts [B,E]."""
        return self.net.encode_text(self.tokenizer(texts).to(next(self.parameters()).device))

    def images(self, images: Tensor) -> Tensor:
        """Embed images [B,3,H,W]: [B,E]."""
        return self.net.encode_image(prepared(images, self.size, self.mean, self.std))
