"""METEOR, SPICE and the Stanford PTB tokenizer: Java programs inside the pycocoevalcap package.

They run where Java is installed. Otherwise `meteor`, `spice` and `ptb_tokenize` raise
DependencyError with what is missing, and the caption scores hold null with that reason. Java reads
and writes pipes and a temporary folder; nothing is written into site-packages and nothing is
downloaded.

References: M. Denkowski, A. Lavie, "Meteor Universal", 2014; P. Anderson et al., "SPICE", 2016
(arXiv 1607.08822); the command lines are those of pycocoevalcap 1.2.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from lavis.common.errors import DependencyError
from lavis.evaluation.coco_scorer import INSTALL

PTB_NAME = "stanford-ptb-3.4.1"
_METEOR_JAR = "meteor/meteor-1.5.jar"
_SPICE_JAR = "spice/spice-1.0.jar"
_SPICE_MODELS = (
    "spice/lib/stanford-corenlp-3.6.0.jar",
    "spice/lib/stanford-corenlp-3.6.0-models.jar",
)
_PTB_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
# What pycocoevalcap drops after tokenising. It compares lower-cased words with "-LRB-", so the
# brackets of a caption survive as "-lrb-" and "-rrb-"; kept for equal scores.
_DROPPED = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:-;", "--", "...")
)
_TIMEOUT = 3600


def ptb_tokenize(texts: Sequence[str]) -> list[list[str]]:
    """Split captions as pycocoevalcap does: lower case, PTB words, punctuation dropped.

    Raises:
        DependencyError: no Java, or no pycocoevalcap.
    """
    jar = _jar(_PTB_JAR)
    lines = "".join(" ".join(text.split()) + "\n" for text in texts)
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    written = _java(
        ["-cp", jar.name, "edu.stanford.nlp.process.PTBTokenizer", *options], jar.parent, lines
    )
    rows = written.split("\n")[: len(texts)]
    return [[word for word in row.split() if word not in _DROPPED] for row in rows]


def meteor(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[float, np.ndarray]:
    """METEOR 1.5 of tokenised captions.

    Returns:
        The score of the corpus (from summed statistics, not the mean) and of each item [N], 0..1.

    Raises:
        DependencyError: no Java, or no pycocoevalcap.
    """
    jar = _jar(_METEOR_JAR)
    command = ["-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    questions = [
        " ||| ".join(["SCORE", *(_line(reference) for reference in group), _line(words)])
        for words, group in zip(hypotheses, references, strict=True)
    ]
    answer = _converse(command, jar.parent, questions)
    if len(answer) != len(hypotheses) + 1:
        raise _failed("METEOR", f"{len(answer)} lines for {len(hypotheses)} captions")
    scores = np.array([float(line) for line in answer])
    return float(scores[-1]), scores[:-1]


def spice(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[float, np.ndarray]:
    """SPICE F-score of tokenised captions: the mean and each item [N], 0..1.

    Raises:
        DependencyError: no Java, no pycocoevalcap, or no CoreNLP models beside its SPICE.
    """
    jar = _jar(_SPICE_JAR, *_SPICE_MODELS)
    rows = [
        {"image_id": number, "test": " ".join(words), "refs": [" ".join(r) for r in group]}
        for number, (words, group) in enumerate(zip(hypotheses, references, strict=True))
    ]
    with tempfile.TemporaryDirectory(prefix="spice-") as folder:
        given, found = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps(rows), encoding="utf-8")
        options = ["-cache", folder, "-out", str(found), "-subset", "-silent"]
        _java(["-Xmx8G", "-jar", jar.name, str(given), *options], jar.parent, "")
        by_number = {
            row["image_id"]: float(row["scores"]["All"]["f"])
            for row in json.loads(found.read_text(encoding="utf-8"))
        }
    scores = np.array([by_number[number] for number in range(len(rows))])
    return float(scores.mean()), scores


def _line(words: Sequence[str]) -> str:
    return " ".join(words).replace("|||", "")


def _jar(*names: str) -> Path:
    """Path of the first file, when Java and all files are there."""
    if shutil.which("java") is None:
        raise DependencyError("Java is not installed", expected="`java` on the PATH")
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise DependencyError(
            "pycocoevalcap, which carries the Java programs, is not installed", fix=INSTALL
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise DependencyError("pycocoevalcap lacks files", got=f"{folder}: no {absent}")
    return folder / names[0]


def _java(arguments: Sequence[str], folder: Path, text: str) -> str:
    command = ["java", "-Dfile.encoding=UTF-8", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=_TIMEOUT,
        )
    except subprocess.CalledProcessError as error:
        raise _failed(" ".join(command[:4]), error.stderr.strip()[-300:]) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(" ".join(command[:4]), str(error)) from error
    return done.stdout


def _converse(arguments: Sequence[str], folder: Path, questions: Sequence[str]) -> list[str]:
    """Ask METEOR for statistics line by line, then for their scores, in one process.

    A thread writes while this one reads, or both would wait on full pipes.
    """
    command = ["java", "-Dfile.encoding=UTF-8", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        text = "\n".join(questions) + "\n"
        writer = threading.Thread(target=_write, args=(process.stdin, text), daemon=True)
        writer.start()
        statistics = [process.stdout.readline().strip() for _ in questions]
        writer.join()
        _write(process.stdin, " ||| ".join(["EVAL", *statistics]) + "\n")
        return process.communicate()[0].splitlines()


def _write(stream: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):  # a Java that died is noticed by what it did not answer
        stream.write(text)
        stream.flush()


def _failed(what: str, got: str) -> DependencyError:
    return DependencyError(f"a Java program failed: {what}", got=got)
