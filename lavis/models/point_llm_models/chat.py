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

import lavis  # noqa: F401  (registers models and processors)
from lavis.common.command import command_parser, report_errors
from lavis.common.errors import ConfigError
from lavis.models.hub.trained_run import cloud_processor, load_run
from lavis.models.teachers.item import Input, ItemReader, add_input_flags, read_inputs

RUN = "output/point_llm/furniture_bricks_pretrain"
TURNS = 8  # of a dialogue that a prompt repeats


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
    parser = command_parser(__doc__)
    parser.add_argument("question", nargs="*", help="one turn each; none: read from stdin")
    parser.add_argument("--run", type=Path, default=Path(RUN), help="folder of a training run")
    add_input_flags(parser)
    parser.add_argument("--cache", help="file of the visual cache (docs/systems/point_llm.md)")
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
        raise ConfigError(what, where="--temperature", got=temperature, fix=fix)
    return {"do_sample": True, "temperature": temperature, "top_p": top_p}


def run(options: argparse.Namespace) -> None:
    """Answer the questions of a command line.

    Raises:
        PointLanguageError: an unusable run, input or question.
    """
    inputs = read_inputs(options)
    generation = sampling(options.temperature, options.top_p)
    changes = {} if options.cache is None else {"cache": str(Path(options.cache).resolve())}
    model, config = load_run(options.run, "point_llm", changes)
    teachers = (options.image_teacher, options.sound_teacher)
    reader = ItemReader(model.joint, cloud_processor(config), *teachers, options.up_axis)
    questions = options.question or sys.stdin
    generation["max_new_tokens"] = options.max_new_tokens
    for question, answer in replies(model, reader, inputs, questions, **generation):
        as_json = json.dumps({"question": question, "answer": answer}, ensure_ascii=False)
        print(as_json if options.json else answer, flush=True)


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when every question has an answer."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
