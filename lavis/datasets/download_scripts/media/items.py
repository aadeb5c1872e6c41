"""What a picture or sound of a package is, whatever the package."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lavis.datasets.rendering.view_store import encode_png

PIXELS = 224  # width and height of kept pictures
MAX_PIXELS = 1 << 25  # of a source; some clip art has 168 million
_PERSON = re.compile(r"\b(wo)?m[ae]n\b|\b(people|persons?|boys?|girls?|ladys?|father|mother)\b")
_VARIANT = re.compile(r"\b(left|right|up|down)\b")


@dataclass(frozen=True)
class Item:
    """A picture, a sound, or both, with its texts.

    Attributes:
        object_id: unique among the items of a preparation.
        captions: at least one; the first is the label.
        category: class name; None: it has none.
        picture: PNG of PIXELS x PIXELS; None: there is none.
        audio: float32 [T] in [-1,1] at `read_audio`'s declared rate; None: there is none.
        source: package, for attribution.
    """

    object_id: str
    captions: tuple[str, ...]
    category: str | None
    source: str
    picture: bytes | None = None
    audio: np.ndarray | None = None

    @property
    def group(self) -> str:
        """What is not divided between splits: texts alike up to number, side and sex."""
        return masked(self.captions[0])


def masked(text: str) -> str:
    """Return a text in lower case with numbers, sides and words for people as marks."""
    lowered = _VARIANT.sub("<side>", _PERSON.sub("<person>", text.lower()))
    return re.sub(r"[\W_]+", " ", re.sub(r"\d+", "#", lowered)).strip() or lowered


def fitted_png(content: bytes) -> bytes:
    """Return a picture as a white square of PIXELS x PIXELS, PNG, its proportions kept.

    Raises:
        OSError, ValueError, SyntaxError: damage, nothing but white, or more than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels")
            picture = image.convert("RGBA")
    except Image.DecompressionBombError as error:
        raise ValueError(f"too many pixels: {error}") from error
    scale = PIXELS / max(picture.size)
    size = [max(round(edge * scale), 1) for edge in picture.size]
    picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (PIXELS, PIXELS), "white")
    place = ((PIXELS - size[0]) // 2, (PIXELS - size[1]) // 2)
    square.alpha_composite(picture, place)
    pixels = np.asarray(square.convert("RGB"))
    if (pixels == 255).all():
        raise ValueError("an empty picture")
    return encode_png(pixels)
