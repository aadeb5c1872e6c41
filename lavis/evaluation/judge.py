"""A language model as judge, through any OpenAI-compatible endpoint, every call kept on disk.

    python -m lavis.evaluation.judge --predictions test.json --protocol captioning \\
        --endpoint http://localhost:8000/v1 --model qwen2-72b
    … --protocol close_classification --classes modelnet40 --key-env OPENAI_API_KEY

The judge's name stands in every metric ("judge/qwen2-72b/caption_score"): two judges order the same
systems differently, so their scores never share a column. A call that was answered once is read
from the cache, so a repeated or interrupted run pays for nothing twice. Temperature is 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError, PointLanguageError, explain
from lavis.evaluation.intervals import mean_ci
from lavis.evaluation.judge_protocols import PROMPT_VERSION, Protocol, protocol
from lavis.evaluation.pointllm import Prediction, read_predictions, record_beside
from lavis.evaluation.prompt_sets import class_names
from lavis.evaluation.provenance import write_json_atomic

RETRIES = 4
_AGAIN = (408, 409, 429, 500, 502, 503, 504)


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
            EvaluationError: the endpoint refuses, or cannot be reached after several tries.
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
            return str(json.loads(path.read_text(encoding="utf-8"))["answer"])
        reply = self._post(request)
        try:
            answer = str(reply["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise EvaluationError(
                explain("a judge's reply holds no answer", where=self.endpoint, got=reply)
            ) from error
        write_json_atomic(path, {"request": request, "answer": answer, "usage": reply.get("usage")})
        return answer

    def _post(self, request: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        call = urllib.request.Request(
            f"{self.endpoint}/chat/completions", json.dumps(request).encode(), headers
        )
        problem: object = None
        for attempt in range(RETRIES):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(call, timeout=self.timeout) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
                if error.code not in _AGAIN:
                    break
            except (OSError, ValueError) as error:
                problem = error
        raise EvaluationError(
            explain(
                "the judge did not answer",
                where=f"{self.endpoint}, model {self.model}",
                got=problem,
                fix="answered calls are kept; run the command again when the endpoint works",
            )
        )


def judge_metrics(
    judge: Judge, items: Sequence[Prediction], rules: Protocol, *, workers: int = 4, seed: int = 0
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Judge every item.

    Returns:
        Metrics "judge/<model>/<metric>" with intervals, the share of readable answers and, where
        some were not, the clean score without them; and one row per item.

    Raises:
        EvaluationError: an item could not be judged (names its id).
    """

    def ask(item: Prediction) -> str:
        try:
            return judge(rules.ask(item))
        except EvaluationError as error:
            raise EvaluationError(f"item {item.item_id}: {error}") from error

    with ThreadPoolExecutor(max(1, workers)) as pool:
        answers = list(pool.map(ask, items))
    verdicts = [rules.read(item, answer) for item, answer in zip(items, answers)]
    scores = np.array([verdict.score for verdict in verdicts])
    valid = np.array([verdict.valid for verdict in verdicts])
    values = {rules.metric: scores, "readable": valid.astype(np.float64)}
    if valid.any() and not valid.all():
        values[f"{rules.metric}_clean"] = scores[valid]
    metrics = {
        f"judge/{judge.model}/{name}": {
            "value": float(rows.mean()),
            "ci95": list(mean_ci(rows, seed=seed)),
        }
        for name, rows in values.items()
    }
    rows = [
        {"item_id": item.item_id, "answer": answer, "score": verdict.score, "valid": verdict.valid}
        for item, answer, verdict in zip(items, answers, verdicts)
    ]
    return metrics, rows


def judge_file(options: argparse.Namespace) -> Path:
    """Judge a predictions file; writes rows and a metrics record beside it."""
    key = os.environ.get(options.key_env) if options.key_env else None
    if options.key_env and not key:
        raise EvaluationError(
            explain(
                "the variable with the API key is not set", where="--key-env", got=options.key_env
            )
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
        print(f"{name:60s} {100 * entry['value']:6.2f}")
    extra = {
        "judge": options.model,
        "endpoint": options.endpoint,
        "protocol": options.protocol,
        "prompt_version": PROMPT_VERSION,
    }
    return record_beside(predictions, suffix, "judge", metrics, len(items), extra)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the record was written."""
    parser = argparse.ArgumentParser(
        prog="python -m lavis.evaluation.judge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--endpoint", required=True, help="e.g. http://localhost:8000/v1")
    parser.add_argument("--model", required=True, help="the judge's name at the endpoint")
    parser.add_argument("--key-env", help="environment variable that holds the API key")
    parser.add_argument("--classes", help="modelnet40, scanobjectnn_…, or a file")
    parser.add_argument("--cache", type=Path, help="default: judge_cache beside the predictions")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    try:
        print(f"written: {judge_file(parser.parse_args(arguments))}")
    except (PointLanguageError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
