"""Figure 18: endpoints that redirect, quote the key or answer nonsense."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.faults.processes import Figure
from lavis.common.errors import EvaluationError
from lavis.evaluation.judge import Judge, judge_metrics
from lavis.evaluation.judge_protocols import protocol
from lavis.evaluation.pointllm import Prediction

KEY = 'sk-SECRET/"42'
FORMS = (KEY, json.dumps(KEY)[1:-1], quote(KEY))
ITEM = [Prediction("u1", "a red chair", "a chair", "chair")]
Reply = tuple[int, dict[str, str], bytes]


@contextlib.contextmanager
def server(reply: Callable[[], Reply], seen: list[str]) -> Iterator[int]:
    """Serve a reply on a port of 127.0.0.1; `seen` gets the headers of every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def do_GET(self) -> None:
            seen.append(str(self.headers))
            code, headers, body = reply()
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the judge reads no more than it wants
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    opened = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=opened.serve_forever, daemon=True).start()
    try:
        yield opened.server_port
    finally:
        opened.shutdown()
        opened.server_close()


def content(value: str) -> bytes:
    """Return the body of a reply whose answer is a JSON literal."""
    return b'{"choices":[{"message":{"content":' + value.encode() + b"}}]}"


def replies(other: int) -> dict[str, Reply]:
    """Return every reply that is tried; `other` is the port of the other host."""
    target = f"http://localhost:{other}/v1/chat/completions"
    key = json.dumps(KEY)
    return {
        **{f"redirect {c}": (c, {"Location": target}, b"") for c in (301, 302, 303, 307, 308)},
        "redirect without scheme": (302, {"Location": target.removeprefix("http:")}, b"{}"),
        "refresh": (200, {"Refresh": f"0;url={target}"}, b"<html>"),
        "quotes the key": (401, {}, f"wrong key: Bearer {KEY}".encode()),
        "quotes the key in JSON": (400, {}, json.dumps({"error": KEY}).encode()),
        "quotes the key in an address": (403, {}, quote(KEY).encode()),
        "answers with the key": (200, {}, content(key)),
        "null": (200, {}, b"null"),
        "null answer": (200, {}, content("null")),
        "a number": (200, {}, content("7")),
        "100,000 brackets": (200, {}, b"[" * 100_000),
        "half a surrogate": (200, {}, content('"\\ud83d"')),
        "NaN": (200, {}, b'{"choices":[{"message":{"content":"5#x"}}],"usage":{"n":NaN}}'),
        "a key twice": (200, {}, b'{"choices":[],"choices":[]}'),
        "no choices": (200, {}, b'{"choices":[]}'),
        "empty": (200, {}, b""),
        "no UTF-8": (200, {}, b"\xff\xfe\x00"),
        "eight megabytes": (200, {}, b" " * 2**23),
    }


def outcome(port: int, cache: Path) -> tuple[str, str]:
    """Judge one item; return what came of it and every text that was shown."""
    judge = Judge(f"http://127.0.0.1:{port}/v1", "m", cache, KEY, timeout=10, pause=0.001)
    try:
        _, rows = judge_metrics(judge, ITEM, protocol("captioning"), workers=1)
    except EvaluationError as error:
        return "refused", str(error)
    if "reason" in rows[0]:
        return "failed judgement", json.dumps(rows)
    return "answered", json.dumps(rows)


def fig18(folder: Path, quick: bool) -> Figure:
    """The key reaches one host; nothing shown or kept holds it; no nonsense becomes an answer."""
    found: dict[str, str] = {}
    leaks, elsewhere = [], list[str]()
    stream = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(stream))
    with server(lambda: (200, {}, content('"90#x"')), elsewhere) as other:
        for name, reply in list(replies(other).items())[:: 2 if quick else 1]:
            cache = folder / name.replace(" ", "-").replace(",", "")
            with server(lambda reply=reply: reply, []) as port:  # type: ignore[misc]
                found[name], shown = outcome(port, cache)
            kept = [p.read_text(encoding="utf-8") for p in cache.glob("*")]
            if any(form in text for form in FORMS for text in (shown, *kept, stream.getvalue())):
                leaks.append(name)
    wrong = [n for n, end in found.items() if end == "answered" and n != "answers with the key"]
    measured = {
        "endpoints": len(found),
        "outcomes": {end: list(found.values()).count(end) for end in sorted(set(found.values()))},
        "requests_to_another_host": len(elsewhere),
        "leaks": leaks,
        "nonsense_taken_for_an_answer": wrong,
    }
    return Figure(not (elsewhere or leaks or wrong), measured)
