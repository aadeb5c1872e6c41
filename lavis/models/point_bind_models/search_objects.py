"""Find 3D objects by a cloud, an image, a sound, a text, or a mixture (any-to-3D retrieval).

    python -m lavis.models.point_bind_models.search_objects --sound bark.wav --cloud figure.ply \\
        --gallery <run>/result/dev_test_embeds.safetensors
    … --image cat.png:0.7 --text "a black cat:0.3" --count 10

The gallery is what the task `embedding_export` writes (docs/systems/point_bind.md). The query is
the mixture of unit embeddings by weight, e.g. a cloud plus a sound (embedding arithmetic). Prints
JSON: `{"object_id": …, "score": cosine}` a line, best first; `--export FILE` writes the unit query
[1,E] as .npy for generators that take such embeddings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lavis  # noqa: F401  (registers models and processors)
from lavis.common.command import command_parser, report_errors
from lavis.common.errors import ConfigError
from lavis.models.abilities import JointEmbedder, check_abilities
from lavis.models.contrastive.joint_queries import ObjectGallery, mix_embeddings
from lavis.models.hub.trained_run import cloud_processor, load_run
from lavis.models.teachers.item import ItemReader, add_input_flags, read_inputs

RUN = "output/point_bind/furniture_bricks"


@torch.no_grad()
def query(model: Any, batch: Mapping[str, Any], weights: Mapping[str, float]) -> Tensor:
    """Return the mixture of a batch's modalities by weight: unit [B,E].

    Raises:
        ConfigError: the model has several embeddings of an item, which cannot be added.
    """
    parts = [model.embed(batch, modality) for modality in weights]
    if any(part.ndim != 2 for part in parts):
        what, got = "embeddings of several vectors an item cannot be added", type(model).__name__
        raise ConfigError(what, got=got, expected="a model with one, e.g. point_bind")
    return mix_embeddings(parts, list(weights.values()))


def run(options: argparse.Namespace) -> None:
    """Run the search of a command line.

    Raises:
        PointLanguageError: an unusable input, run or gallery.
    """
    inputs = read_inputs(options)
    model, config = load_run(options.run)
    check_abilities(model, {JointEmbedder: "--run"}, "search_objects")
    teachers = (options.image_teacher, options.sound_teacher)
    reader = ItemReader(model, cloud_processor(config), *teachers, options.up_axis)
    (embed,) = query(model, *reader.read(inputs))
    if options.export:
        np.save(options.export, embed[None].numpy())
    if options.gallery:
        gallery = ObjectGallery(options.gallery, options.searched, model.space)
        for found in gallery.search(embed, options.count):
            print(json.dumps(asdict(found)))


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the search is done."""
    parser = command_parser(__doc__)
    parser.add_argument("--run", type=Path, default=Path(RUN), help="folder of a training run")
    parser.add_argument("--gallery", type=Path, help="file of the task embedding_export")
    parser.add_argument("--searched", default="point", help="modality of the gallery")
    parser.add_argument("--count", type=int, default=5, help="objects to print")
    parser.add_argument("--export", type=Path, help=".npy of the query, float32 [1,E]")
    add_input_flags(parser)
    options = parser.parse_args(arguments)
    if not (options.gallery or options.export):
        parser.error("name a --gallery to search in, or a file to --export the query to")
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
