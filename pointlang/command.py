"""Caption, question, classify, embed, search or segment your own 3D files.

    python -m pointlang predict my.ply                                  # a caption
    python -m pointlang predict my.ply "What is this?"                  # an answer
    python -m pointlang predict "scans/**/*.glb" --classify chair lamp  # zero-shot classes
    python -m pointlang predict meshes/ --retrieve "a red chair" --top 5
    python -m pointlang predict room.ply --segment bed "floor lamp" --points labelled/
    find / -name "*.ply" | python -m pointlang predict - --embed > embeddings.jsonl
    python -m torch.distributed.run --nproc_per_node=8 -m pointlang predict big/ --out predictions

One line of JSON a file on standard output; a file that cannot be read is a line with its error.
docs/predict.md has the rest.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lavis.common.command import positive
from lavis.common.errors import ConfigError, PointLanguageError
from lavis.common.preemption import leave_at_signals
from lavis.datasets.convert.up_axis import CHOICES
from pointlang import ray_shards, shards
from pointlang.inputs import expand, split_question
from pointlang.task import Record, Task, predict, query_of, system_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when every file has a prediction, 1 when some have none, 2 when all."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("trimesh").setLevel(logging.ERROR)  # it names no file
    try:
        with leave_at_signals("while predicting: with --out the same command goes on"):
            task, files = _task(given)
            if given.out is None:
                return _print(task, files, given)
            return _write(task, files, given)
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _task(given: argparse.Namespace) -> tuple[Task, list[str]]:
    """Return what is predicted about which files.

    Raises:
        ConfigError: several predictions at once, or a system that cannot do it.
    """
    inputs, question = split_question(given.inputs)
    question = given.ask if given.ask is not None else question
    asked = {
        "ask": question,
        "classify": given.classify,
        "embed": given.embed or None,
        "retrieve": given.retrieve,
        "segment": given.segment,
    }
    chosen = [name for name, value in asked.items() if value is not None] or ["caption"]
    if len(chosen) > 1:
        what = "One prediction at a time."
        raise ConfigError(what, got=", ".join(chosen), fix="give one of them")
    (ability,) = chosen
    task = Task(
        ability,
        given.model,
        given.device,
        (question if ability == "ask" else given.retrieve) or "",
        tuple(given.classify or given.segment or ()),
        given.up,
        given.file_size,
        given.points or "",
        {"num_beams": given.num_beams} if ability in ("caption", "ask") else {},
    )
    files = expand(inputs)
    if task.points_folder:
        _check_names(files)
    if not given.ray:
        _check(task)
    return task, files


def _check(task: Task) -> None:
    """Refuse what the system cannot do before a file is read."""
    system = system_of(task)
    system.require(task.ability)
    if task.ability == "retrieve":
        system.query(query_of(task.text, task.up))


def _check_names(files: Sequence[str]) -> None:
    """Refuse rooms whose labelled points would have one name."""
    first: dict[str, str] = {}
    for path in files:
        other = first.setdefault(Path(path).stem, path)
        if other != path:
            what, fix = "Two rooms have one name.", "predict them into two folders"
            raise ConfigError(what, where="--points", got=f"{other}, {path}", fix=fix)


def _print(task: Task, files: Sequence[str], given: argparse.Namespace) -> int:
    """Print one line a file as soon as its batch is done; of a search the best, sorted."""
    records = _progress(predict(task, files), len(files), given.quiet)
    failed = 0
    if task.ability == "retrieve":
        found = list(records)
        found.sort(key=lambda record: -record.get("score", -2.0))
        good = [record for record in found if "score" in record]
        records = iter(good[: given.top] + found[len(good) :])
    for record in records:
        failed += "error" in record
        print(shards.line(record), flush=True)
    return _ended(len(files), failed)


def _ended(count: int, failed: int) -> int:
    if failed:
        print(f"{failed} of {count} files have an error instead of a prediction", file=sys.stderr)
    return 0 if not failed else (2 if failed == count else 1)


def _progress(records: Iterator[Record], count: int, quiet: bool) -> Iterator[Record]:
    yield from tqdm(records, total=count, unit="file", disable=quiet or None, file=sys.stderr)


def _write(task: Task, files: Sequence[str], given: argparse.Namespace) -> int:
    """Write shards: of this rank, or on a Ray cluster."""
    folder = given.out.resolve()
    # Workers have other folders: every path is absolute.
    if given.ray:
        files = [os.path.abspath(path) for path in files]
        is_folder = os.path.isdir(task.model)
        task = replace(task, model=os.path.abspath(task.model) if is_folder else task.model)
    all_shards = shards.plan(task, files, folder, given.shard_size, given.format)
    own = all_shards if given.ray else shards.own_shards(all_shards)
    waiting = [shard for shard in own if not shard.path.exists()]
    steps = (
        ray_shards.run(task, waiting, given.ray) if given.ray else shards.run_here(task, waiting)
    )
    total = sum(len(shard.files) for shard in waiting)
    # One bar: ranks share a terminal. None shows it on a terminal alone.
    hidden = given.quiet or own[:1] != all_shards[:1] or None
    with tqdm(total=total, unit="file", disable=hidden, file=sys.stderr) as bar:
        for count in steps:
            bar.update(count)
    done = f"{len(own)} shards of {len(all_shards)}, {len(own) - len(waiting)} of them from before"
    print(f"Written: {folder} ({done})", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pointlang predict", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    about = 'files, folders, globs, @list.txt, "-" (a list on stdin); then a question'
    add("inputs", nargs="+", help=about)
    add("--ask", metavar="QUESTION", help="answer a question about each file")
    add("--classify", nargs="+", metavar="LABEL", help="probabilities of your labels")
    add("--embed", action="store_true", help="embedding of each file")
    add("--retrieve", metavar="QUERY", help="files nearest to a text, a cloud or a picture")
    add("--segment", nargs="*", metavar="LABEL", help="label every point of rooms (in metres)")
    add(
        "--points",
        metavar="FOLDER",
        help="of --segment: write the labelled points (.npz) and a page",
    )
    add("--model", default="demo", help="name below output/, run folder or hub folder")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    add("--up", choices=CHOICES, default="auto", help="axis that is up; auto goes by the format")
    add("--file-size", action="store_true", help="the files have the unit of the training data")
    add("--top", type=positive, default=10, help="of --retrieve: results (default: %(default)s)")
    add("--num-beams", type=positive, default=1, help="of captions and answers")
    add("--out", type=Path, metavar="FOLDER", help="write shards that a second start continues")
    add("--shard-size", type=positive, default=1000, help="files a shard (default: %(default)s)")
    add("--format", choices=shards.FORMATS, default="jsonl", help="of the shards")
    add("--ray", metavar="ADDRESS", help="with --out: on a Ray cluster: host:port, auto or local")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    sys.exit(main())
