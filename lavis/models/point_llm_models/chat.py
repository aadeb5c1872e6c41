"""Ask a trained Point-LLM about a cloud, an image, a sound, or a mixture, from the command line.

    python -m lavis.models.point_llm_models.chat --cloud chair.ply "What is it?"
    … --image cat.png "What is it?"
    … --cloud dog.ply:0.7 --sound bark.wav:0.3 "Describe the object."     # mixed by weight
    … --cloud chair.ply                                                   # a dialogue, line by line

Without a question every line of the standard input is the next turn of a dialogue; an empty line
begins anew, the end of the input leaves. `--json` prints {"question", "answer"} a line. Clouds are
+y up (`--up-axis z` turns them), grey where they have no colour, and brought to the run's number of
points. Images and sounds enter by the teachers of the training data (`--image-teacher`,
`--sound-teacher`).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import lavis  # noqa: F401  (registers models and processors)
from lavis.common.errors import ConfigError, DataError, PointLanguageError, explain
from lavis.config.sources import load_yaml
from lavis.models.point_llm_models.item import Input, ItemReader, read_input
from lavis.processors import load_processor
from lavis.stock import registered

RUN = "output/point_llm/furniture_bricks_pretrain"
CHECKPOINT = "checkpoint_last.pth"
FLAGS = {"cloud": "point", "image": "image", "sound": "audio", "text": "text"}
TURNS = 8  # of a dialogue that a prompt repeats


def load_run(folder: Path, cache: str | None = None) -> tuple[Any, DictConfig]:
    """Return the trained model of a run, in evaluation mode, and the run's configuration.

    Args:
        folder: of a training run of `point_llm`.
        cache: file of the visual cache; None: that of the run.

    Raises:
        ConfigError: no such run, or one of another model.
        CheckpointError: the checkpoint cannot be loaded.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        what, fix = "no trained Point-LLM", "train one (docs/systems/point_llm.md), or --run FOLDER"
        raise ConfigError(explain(what, where=f"--run {folder}", fix=fix))
    config = load_yaml(path, "--run")
    if config.model.arch != "point_llm":
        what, got = "the run is of another model", config.model.arch
        raise ConfigError(explain(what, where=str(path), got=got, expected="point_llm"))
    section = OmegaConf.merge(config.model, {"finetuned": str(folder.resolve() / CHECKPOINT)})
    if cache is not None:
        section.cache = str(Path(cache).resolve())
    keys = {key: value for key, value in section.items() if key not in ("arch", "model_type")}
    model = registered("model", "point_llm").from_config(OmegaConf.create(keys))
    return model.eval(), config


def cloud_processor(config: DictConfig) -> Any:
    """Return the run's processor of clouds in evaluation, for files of any order and colour.

    Raises:
        ConfigError: the run has none.
    """
    found = [section.get("point_processor") for section in config.datasets.values()]
    section = next((one.eval for one in found if one is not None), None)
    if section is None:
        what = "the run has no processor of clouds"
        raise ConfigError(explain(what, where="datasets.<name>.point_processor.eval"))
    options = OmegaConf.merge(section, {"resample": "fps", "missing_color": 0.5})
    return load_processor(section.name, options)


def replies(
    model: Any,
    reader: ItemReader,
    inputs: Sequence[Input],
    questions: Iterable[str],
    **options: Any,
) -> Iterator[tuple[str, str]]:
    """Yield (question, answer) of a dialogue about one item; an empty question begins anew."""
    batch, weights = reader.read(inputs)
    turns: list[tuple[str, str]] = []
    for question in map(str.strip, questions):
        if not question:
            turns = []
            continue
        (answer,) = model.reply(batch, weights, question, turns[-TURNS:], **options)
        turns.append((question, answer))
        yield question, answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("question", nargs="*", help="one turn each; none: read from stdin")
    parser.add_argument("--run", type=Path, default=Path(RUN), help="folder of a training run")
    for flag in FLAGS:
        parser.add_argument(f"--{flag}", help="a text, or a file; a weight may follow: FILE:0.5")
    parser.add_argument("--cache", help="file of the visual cache (docs/systems/point_llm.md)")
    parser.add_argument("--image-teacher", help="conse, file of a head, imagebind:…, clip:FOLDER")
    parser.add_argument("--sound-teacher", help="file of a head, imagebind:… or clap:FOLDER")
    parser.add_argument("--up-axis", choices=("y", "z"), default="y", help="of the cloud")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="longest answer")
    parser.add_argument("--temperature", type=float, help="samples (release: 0.1); none: greedy")
    parser.add_argument("--top-p", type=float, default=0.75, help="nucleus mass of sampling")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def sampling(temperature: float | None, top_p: float) -> dict[str, Any]:
    """Return options of `generate`.

    Raises:
        ConfigError: a temperature that is not above 0.
    """
    if temperature is None:
        return {"do_sample": False}
    if not temperature > 0:
        what, fix = "a temperature is not above 0", "leave --temperature out for greedy answers"
        raise ConfigError(explain(what, where="--temperature", got=temperature, fix=fix))
    return {"do_sample": True, "temperature": temperature, "top_p": top_p}


def run(options: argparse.Namespace) -> None:
    """Answer the questions of a command line.

    Raises:
        PointLanguageError: what stands in the way.
    """
    given = [(flag, getattr(options, flag)) for flag in FLAGS if getattr(options, flag)]
    if not given:
        what, fix = "nothing to ask about", "name a --cloud, --image, --sound or --text"
        raise DataError(explain(what, fix=fix))
    inputs = [read_input(FLAGS[flag], value) for flag, value in given]
    generation = sampling(options.temperature, options.top_p)
    model, config = load_run(options.run, options.cache)
    teachers = (options.image_teacher, options.sound_teacher)
    reader = ItemReader(model.joint, cloud_processor(config), *teachers, options.up_axis)
    questions = options.question or sys.stdin
    generation["max_new_tokens"] = options.max_new_tokens
    for question, answer in replies(model, reader, inputs, questions, **generation):
        as_json = json.dumps({"question": question, "answer": answer}, ensure_ascii=False)
        print(as_json if options.json else answer, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when every question has an answer."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        run(options)
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
