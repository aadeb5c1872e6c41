"""A language model as judge, through any OpenAI-compatible endpoint, every call kept on disk.

    python -m lavis.evaluation.judge --predictions test.json --protocol captioning \\
        --endpoint http://localhost:8000/v1 --model qwen2-72b
    … --protocol close_classification --classes modelnet40 --key-env OPENAI_API_KEY

Metric names contain the judge ("judge/qwen2-72b/caption_score"): two judges order the same systems
differently, so their scores never share a column. Answered calls are read from the cache, so a
repeated or interrupted run does not pay twice. Temperature is 0.

The API key is sent to the endpoint alone: redirects are refused, and the key is masked in every
reply. A reply without a usable answer is a failed judgement: it counts as unreadable, its
row has the reason, and it is not cached, so the next run repeats the call.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2  # the HTTP client of huggingface_hub
import numpy as np

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import EvaluationError
from lavis.common.strict_json import parse_json
from lavis.common.text_files import read_json
from lavis.evaluation.formatting import format_value
from lavis.evaluation.intervals import mean_metric
from lavis.evaluation.judge_protocols import PROMPT_VERSION, Protocol, protocol
from lavis.evaluation.pointllm import Prediction, read_predictions, record_beside
from lavis.evaluation.prompt_sets import class_names
from lavis.evaluation.provenance import write_json_atomic

RETRIES = 4
MAX_REPLY_BYTES = 2**22
_AGAIN = (408, 409, 429, 500, 502, 503, 504)


class NoAnswerError(EvaluationError):
    """The endpoint replied, and the reply holds no usable answer."""


class Judge:
    """Ask an endpoint, through a cache.

    Args:
        endpoint: base address of the API, e.g. http://localhost:8000/v1.
        model: the judge's name there; it becomes part of every metric's name.
        cache: folder of answered calls, one file each.
        key: API key, or None for a server without one. It is never written anywhere.
        timeout: seconds to wait for one answer.
        pause: seconds before the first retry; doubles each time.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        cache: str | Path,
        key: str | None = None,
        timeout: float = 120.0,
        pause: float = 1.0,
    ) -> None:
        self.endpoint, self.model = endpoint.rstrip("/"), model
        self.cache, self.key = Path(cache), key
        self.timeout, self.pause = timeout, pause

    def __call__(self, question: str) -> str:
        """Return the judge's answer to one question.

        Raises:
            NoAnswerError: the reply holds no text.
            EvaluationError: the endpoint refuses or redirects, or cannot be reached after several
                tries.
        """
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": 128,
        }
        text = json.dumps({"endpoint": self.endpoint, **request}, sort_keys=True)
        path = self.cache / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
        if path.is_file():
            try:
                return str(read_json(path)["answer"])
            except (ValueError, KeyError, TypeError) as error:
                logging.warning("%s is not used, the judge is asked again: %s", path, error)
        answer, usage = self._read(self._post(request))
        write_json_atomic(path, {"request": request, "answer": answer, "usage": usage})
        return answer

    def _read(self, body: str) -> tuple[str, Any]:
        """Return the answer in a reply, and what it cost."""
        try:
            reply = parse_json(body)
            answer = reply["choices"][0]["message"]["content"]
            if not isinstance(answer, str):
                raise TypeError(f"content is {type(answer).__name__}, not text")
            return answer, reply.get("usage")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            got = f"{body[:200]!r} ({type(error).__name__}: {self._blanked(str(error)[:200])})"
            raise NoAnswerError(
                "a judge's reply holds no answer", where=self.endpoint, got=got
            ) from None

    def _post(self, request: dict[str, Any]) -> str:
        """Return the body of the endpoint's reply, without the key."""
        problem = ""
        for attempt in range(RETRIES):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                code, body = self._send(request)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                problem = self._blanked(f"{type(error).__name__}: {error}")
                continue
            if code == 200:
                return body
            problem = f"HTTP {code}: {body[:300]}"
            if code not in _AGAIN:
                break
        raise EvaluationError(
            "the judge did not answer",
            where=f"{self.endpoint}, model {self.model}",
            got=problem,
            fix="answered calls are kept; run the command again when the endpoint works",
        )

    def _send(self, request: dict[str, Any]) -> tuple[int, str]:
        """Post one request; return status and text. A redirect is returned, never followed."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with httpx2.stream(
            "POST",
            f"{self.endpoint}/chat/completions",
            json=request,
            headers=headers,
            timeout=self.timeout,
            follow_redirects=False,
        ) as response:
            content = bytearray()
            for part in response.iter_bytes():
                content += part
                if len(content) > MAX_REPLY_BYTES:
                    raise ValueError(f"a reply of more than {MAX_REPLY_BYTES:,} bytes")
            return response.status_code, self._blanked(content.decode("utf-8", "replace"))

    def _blanked(self, text: str) -> str:
        """Return a text without the key, as it is and as JSON or an address would escape it."""
        for form in {self.key, json.dumps(self.key)[1:-1], quote(self.key)} if self.key else ():
            text = text.replace(form, "***")
        return text


def judge_metrics(
    judge: Judge, items: Sequence[Prediction], rules: Protocol, *, workers: int = 4, seed: int = 0
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Judge every item.

    Returns:
        Metrics "judge/<model>/<metric>" with intervals, the share of readable answers and, where
        some were not, the clean score without them (None where none was readable); and one row per
        item, with the reason of a failed judgement.

    Raises:
        EvaluationError: the endpoint does not answer (names the item).
    """
    reasons: dict[str, str] = {}

    def ask(item: Prediction) -> str:
        try:
            return judge(rules.ask(item))
        except NoAnswerError as error:
            reasons[item.item_id] = str(error)
            return ""
        except EvaluationError as error:
            raise EvaluationError(f"item {item.item_id}: {error}") from error

    with ThreadPoolExecutor(max(1, workers)) as pool:
        answers = list(pool.map(ask, items))
    verdicts = [rules.read(item, answer) for item, answer in zip(items, answers)]
    scores = np.array([verdict.score for verdict in verdicts])
    valid = np.array([verdict.valid for verdict in verdicts])
    values = {rules.metric: scores, "readable": valid.astype(np.float64)}
    if not valid.all():
        values[f"{rules.metric}_clean"] = scores[valid]
    metrics = {
        f"judge/{judge.model}/{name}": (
            mean_metric(rows, seed=seed) if len(rows) else {"value": None, "ci95": None}
        )
        for name, rows in values.items()
    }
    rows = [
        {"item_id": item.item_id, "answer": answer, "score": verdict.score, "valid": verdict.valid}
        | ({"reason": reasons[item.item_id]} if item.item_id in reasons else {})
        for item, answer, verdict in zip(items, answers, verdicts)
    ]
    return metrics, rows


def judge_file(options: argparse.Namespace) -> Path:
    """Judge a predictions file; write rows and a metrics record to its folder."""
    key = os.environ.get(options.key_env) if options.key_env else None
    if options.key_env and not key:
        raise EvaluationError(
            "the variable with the API key is not set", where="--key-env", got=options.key_env
        )
    predictions = Path(options.predictions)
    cache = options.cache or predictions.parent / "judge_cache"
    classes = class_names(options.classes) if options.classes else []
    rules = protocol(options.protocol, classes, options.seed)
    items = read_predictions(predictions)
    judge = Judge(options.endpoint, options.model, cache, key)
    metrics, rows = judge_metrics(judge, items, rules, workers=options.workers, seed=options.seed)
    slug = "".join(c if c.isalnum() or c in "-." else "-" for c in options.model)
    suffix = f"judge_{slug}_{options.protocol}"
    write_json_atomic(predictions.with_name(f"{predictions.stem}_{suffix}.json"), rows)
    for name, entry in metrics.items():
        print(f"{name:60s} {format_value(name, entry['value']):>6s}")
    undefined = [name for name, entry in metrics.items() if entry["value"] is None]
    extra = {
        "judge": options.model,
        "endpoint": options.endpoint,
        "protocol": options.protocol,
        "prompt_version": PROMPT_VERSION,
        "unavailable": dict.fromkeys(undefined, "no answer of the judge is readable"),
    }
    return record_beside(predictions, suffix, "judge", metrics, len(items), extra)


@report_errors(OSError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the record was written."""
    parser = command_parser(__doc__, "python -m lavis.evaluation.judge")
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--endpoint", required=True, help="e.g. http://localhost:8000/v1")
    parser.add_argument("--model", required=True, help="the judge's name at the endpoint")
    parser.add_argument("--key-env", help="environment variable that holds the API key")
    parser.add_argument("--classes", help="modelnet40, scanobjectnn_…, or a file")
    parser.add_argument("--cache", type=Path, help="default: judge_cache beside the predictions")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    print(f"written: {judge_file(parser.parse_args(arguments))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
