"""Load published encoder weights and report exactly what was loaded.

The encoders carry the parameter names of their releases, so a file needs no table of names: it is
unwrapped, the tower's prefix is removed, and parts that the encoder does not have by design
(`published_extras`: classifiers, an image transformer's patch embedding) are set aside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lavis.common.checkpoint import read_file
from lavis.common.errors import CheckpointError
from lavis.models.point_encoders.base import PointEncoder

_logger = logging.getLogger(__name__)

# Where releases keep the weights: ULIP, OpenShape, PointLLM's encoder | LAVIS | Point-BERT |
# DeepSpeed (Uni3D) | Pointnet_Pointnet2_pytorch.
WRAPPERS = ("state_dict", "model", "base_model", "module", "model_state_dict")
# ULIP, PointBLIP, Point-Bind, Uni3D | PointLLM's language model | Point-BERT's momentum pair |
# OpenShape's L/14 and B/32.
TOWER_PREFIXES = (
    "point_encoder.",
    "model.point_backbone.",
    "point_backbone.",
    "transformer_q.",
    "pc_encoder.",
)


@dataclass(frozen=True)
class CheckpointReport:
    """What happened to every key.

    Attributes:
        path: file that was read.
        loaded: keys copied into the encoder.
        missing: keys of the encoder that the file lacks.
        unexpected: keys of the file that the encoder lacks.
        shape_mismatch: (key, shape in the file, shape in the encoder).
        other_towers: keys of other parts of the file (image and text towers, heads).
    """

    path: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape_mismatch: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    other_towers: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line of counts and one line for each kind of difference."""
        lines = [
            f"{self.path}: loaded {len(self.loaded)}, missing {len(self.missing)}, "
            f"unexpected {len(self.unexpected)}, shape mismatch {len(self.shape_mismatch)}, "
            f"other towers {len(self.other_towers)}"
        ]
        lines += [f"  missing: {', '.join(self.missing)}"] if self.missing else []
        lines += [f"  unexpected: {', '.join(self.unexpected)}"] if self.unexpected else []
        lines += [
            f"  shape mismatch: {key} is {found} in the file, {wanted} in the encoder"
            for key, found, wanted in self.shape_mismatch
        ]
        return "\n".join(lines)


def load_encoder_checkpoint(
    encoder: nn.Module,
    path: str | Path,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
) -> CheckpointReport:
    """Load weights into an encoder, strictly unless a difference is listed.

    The file may be a bare state dict or wrap one under a name of `WRAPPERS`; the prefix `module.`
    and the first of `TOWER_PREFIXES` that occurs are removed. In a whole-model file (some keys
    under such a prefix) the keys of the other towers are set aside and counted in the report, as
    are the encoder's `published_extras`. Nothing is loaded when the check fails.

    Args:
        encoder: module whose state dict uses the published names.
        path: .pt / .pth (read with weights_only) or .safetensors.
        allow_missing: keys, or patterns such as ``"cls_*"``, that the file may lack.
        allow_unexpected: keys or patterns that the file may have in excess.

    Returns:
        The report, also logged.

    Raises:
        CheckpointError: unreadable file, or a difference that is not allowed.
    """
    found, other_towers = _encoder_keys(_unwrap(_read(Path(path)), path))
    if isinstance(encoder, PointEncoder):
        found = encoder.rename_published(found)
    extras = [key for key in found if _matches(key, getattr(encoder, "published_extras", ()))]
    other_towers += tuple(extras)
    found = {key: value for key, value in found.items() if key not in extras}
    wanted = encoder.state_dict()
    mismatch = tuple(
        (key, tuple(found[key].shape), tuple(wanted[key].shape))
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    )
    mismatched = {key for key, _, _ in mismatch}
    report = CheckpointReport(
        path=str(path),
        loaded=tuple(key for key in wanted if key in found and key not in mismatched),
        missing=tuple(key for key in wanted if key not in found),
        unexpected=tuple(key for key in found if key not in wanted),
        shape_mismatch=mismatch,
        other_towers=other_towers,
    )
    refused = _not_allowed(report.missing, allow_missing)
    refused += _not_allowed(report.unexpected, allow_unexpected)
    if refused or mismatch or not report.loaded:
        raise CheckpointError(
            f"The checkpoint does not fit the encoder.\n{report}",
            where=str(path),
            expected="exactly the encoder's keys and shapes",
            fix="match the sizes in the yaml (depth, trans_dim, point_dims, stem_dims …; "
            "docs/encoders.md lists those of the releases) or list accepted differences in "
            "allow_missing / allow_unexpected",
        )
    encoder.load_state_dict({key: found[key] for key in report.loaded}, strict=False)
    _logger.info("%s", report)
    return report


def _not_allowed(keys: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Return the keys that match no allowed pattern."""
    patterns = (allowed,) if isinstance(allowed, str) else tuple(allowed)
    return [key for key in keys if not _matches(key, patterns)]


def _matches(key: str, patterns: Iterable[str]) -> bool:
    """Return whether a key is one of the patterns."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _read(path: Path) -> Any:
    """Read a checkpoint without running code from it."""
    if not path.is_file():
        raise CheckpointError(
            "Checkpoint not found.", where=str(path), fix="check the path in the yaml"
        )
    return read_file(path, "model.point_encoder_weights")


def _unwrap(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Return the state dict inside the known wrappers."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    tensors = (
        {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise CheckpointError(
            "The file holds no state dict.",
            where=str(path),
            got=f"{type(content).__name__} with keys {sorted(map(str, content))[:8]}"
            if isinstance(content, Mapping)
            else type(content).__name__,
            expected=f"tensors by name, bare or under one of {list(WRAPPERS)}",
        )
    return tensors


def _encoder_keys(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Strip prefixes; return the encoder's tensors and the names of other towers' tensors."""
    bare = {key.removeprefix("module."): value for key, value in tensors.items()}
    for prefix in TOWER_PREFIXES:
        tower = {
            key.removeprefix(prefix): value for key, value in bare.items() if key.startswith(prefix)
        }
        if tower:
            return tower, tuple(key for key in bare if not key.startswith(prefix))
    return bare, ()
