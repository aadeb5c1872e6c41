"""The judge against a local HTTP server: protocols, cache, retries, names in every metric."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.judge import Judge, judge_metrics, main
from lavis.evaluation.judge_protocols import protocol, right_class
from lavis.evaluation.pointllm import Prediction

ITEMS = [
    Prediction("u1", "a red chair", "a chair", "chair"),
    Prediction("u2", "a wooden table", "a plate", "table"),
]


class FakeEndpoint:
    """Answers by rule; keeps what it was asked; fails as often as told."""

    def __init__(self):
        self.requests, self.headers, self.failures, self.answer = [], [], 0, lambda text: "T#ok"
        self.raw = None  # (code, headers, body) instead of an answer
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, body))
                endpoint.headers.append(dict(self.headers))
                if endpoint.failures:
                    endpoint.failures -= 1
                    self.send_error(503)
                    return
                if endpoint.raw is not None:
                    code, headers, content = endpoint.raw
                    self.send_response(code)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                    return
                text = endpoint.answer(body["messages"][0]["content"])
                reply = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 3}}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())

            def log_message(self, *arguments):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint():
    fake = FakeEndpoint()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def ask(endpoint, tmp_path, key=None, model="qwen2-72b"):
    return Judge(endpoint.url, model, tmp_path / "cache", key, timeout=10, pause=0.01)


def test_every_call_is_kept_and_asked_once(endpoint, tmp_path):
    judge = ask(endpoint, tmp_path, key="secret-key")
    assert [judge("same?"), judge("same?"), judge("other?")] == ["T#ok"] * 3
    assert len(endpoint.requests) == 2
    path, body = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"]) == ("qwen2-72b", 0)
    assert endpoint.headers[0]["Authorization"] == "Bearer secret-key"
    kept = "".join(p.read_text() for p in (tmp_path / "cache").iterdir())
    assert "secret-key" not in kept
    ask(endpoint, tmp_path, model="gpt-4")("same?")  # another judge is another question
    assert len(endpoint.requests) == 3


def test_a_busy_endpoint_is_asked_again_and_a_dead_one_named(endpoint, tmp_path):
    endpoint.failures = 2
    assert ask(endpoint, tmp_path)("x") == "T#ok"
    endpoint.failures = 99
    with pytest.raises(EvaluationError, match=r"u1.*[\s\S]*HTTP 503"):
        judge_metrics(ask(endpoint, tmp_path), ITEMS[:1], protocol("captioning"), workers=1)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_key_stays(endpoint, tmp_path, code):
    other = FakeEndpoint()
    endpoint.raw = (code, {"Location": f"{other.url}/chat/completions"}, b"")
    with pytest.raises(EvaluationError, match=f"HTTP {code}"):
        ask(endpoint, tmp_path, key="sk-SECRET")("x")
    other.server.shutdown()
    other.server.server_close()
    assert len(endpoint.requests) == 1
    assert not other.requests


def test_a_key_that_the_endpoint_quotes_is_blanked_everywhere(endpoint, tmp_path):
    key = 'sk-"SE/CRET'
    judge = ask(endpoint, tmp_path, key=key)
    endpoint.raw = (401, {}, f"wrong key {key} {json.dumps(key)} {quote(key)}".encode())
    with pytest.raises(EvaluationError) as refused:
        judge("x")
    endpoint.raw = (200, {}, json.dumps({"error": f"your key is {key}"}).encode())
    with pytest.raises(EvaluationError) as empty:
        judge("x")
    endpoint.raw = None
    endpoint.answer = lambda text: f"50#{key}"
    assert judge("x") == "50#***"
    kept = "".join(p.read_text() for p in (tmp_path / "cache").iterdir())
    for text in (str(refused.value), str(empty.value), kept):
        assert "CRET" not in text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"null", "TypeError"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"choices":[{"message":{"content":null}}]}', "not text"),
        (b'{"choices":[{"message":{"content":"half \\ud83d"}}]}', "surrogate"),
        (b'{"choices":[]}', "IndexError"),
        (b"<html>", "JSONDecodeError"),
        (b"\xff\xfe", "JSONDecodeError"),
        (b'{"choices":[{"message":{"content":"50#x"}}],"usage":{"cost":NaN}}', "finite"),
    ],
)
def test_a_reply_without_an_answer_is_a_failed_judgement(endpoint, tmp_path, body, reason):
    endpoint.raw = (200, {}, body)
    metrics, rows = judge_metrics(ask(endpoint, tmp_path), ITEMS[:1], protocol("captioning"))
    assert metrics["judge/qwen2-72b/readable"]["value"] == 0
    assert (rows[0]["answer"], rows[0]["valid"]) == ("", False)
    assert reason in rows[0]["reason"]
    assert not (tmp_path / "cache").exists()  # asked again next time


def test_a_damaged_cache_entry_is_asked_again(endpoint, tmp_path):
    judge = ask(endpoint, tmp_path)
    judge("x")
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_text('{"answer"')
    assert judge("x") == "T#ok"
    assert len(endpoint.requests) == 2


def test_caption_scores_carry_the_judge_and_count_unreadable_answers(endpoint, tmp_path):
    endpoint.answer = lambda text: "50#half" if "a red chair" in text else "cannot say"
    metrics, rows = judge_metrics(ask(endpoint, tmp_path), ITEMS, protocol("captioning"))
    assert metrics["judge/qwen2-72b/caption_score"]["value"] == 0.25
    assert metrics["judge/qwen2-72b/caption_score_clean"]["value"] == 0.5
    assert metrics["judge/qwen2-72b/readable"]["value"] == 0.5
    assert [row["valid"] for row in rows] == [True, False]


def test_the_clean_score_of_no_readable_answer_is_null(endpoint, tmp_path):
    endpoint.answer = lambda text: "cannot say"
    metrics, _ = judge_metrics(ask(endpoint, tmp_path), ITEMS, protocol("captioning"))
    assert metrics["judge/qwen2-72b/caption_score_clean"] == {"value": None, "ci95": None}
    assert metrics["judge/qwen2-72b/readable"]["value"] == 0


@pytest.mark.parametrize(
    ("answer", "score", "valid"),
    [
        ("85#most", 0.85, True),
        ("Score: 7#x", 0.07, True),
        ("100", 1.0, True),
        ("62.5 # x", 0.625, True),
        ("150#x", 0, False),
        ("-5#x", 0, False),
        ("it has 4 legs and is a chair", 0, False),
        ("", 0, False),
    ],
)
def test_caption_answers(answer, score, valid):
    verdict = protocol("captioning").read(ITEMS[0], answer)
    assert (verdict.score, verdict.valid) == (score, valid)


def test_open_answers():
    rules = protocol("open_classification")
    found = [rules.read(ITEMS[0], answer) for answer in ("T#same", " f#no", "maybe", "")]
    assert [(v.score, v.valid) for v in found] == [(1, True), (0, True), (0, False), (0, False)]


def test_close_answers_fall_back_to_a_seeded_class():
    classes = ["chair", "table", "bed"]
    rules = protocol("close_classification", classes, seed=3)
    assert "1: table" in rules.ask(ITEMS[1])
    assert rules.read(ITEMS[1], "Output: 1#table#it is").score == 1.0
    assert rules.read(ITEMS[1], "0#chair#x").score == 0.0
    for unreadable in ("-1#NA#unclear", "9#sofa#x", "a table", "1#NA#x"):
        verdicts = [rules.read(ITEMS[1], unreadable) for _ in range(2)]
        assert verdicts[0] == verdicts[1]
        assert not verdicts[0].valid
        assert verdicts[0].choice in range(3)


def test_the_right_class_is_a_name_or_an_index():
    classes = ["chair", "night stand"]
    assert right_class(Prediction("u", "x", "", "Night_Stand"), classes) == 1
    assert right_class(Prediction("u", "chair", ""), classes) == 0
    assert right_class(Prediction("u", "1", ""), classes) == 1
    with pytest.raises(EvaluationError, match="u9"):
        right_class(Prediction("u9", "sofa", ""), classes)
    for name in ("caption", "close_classification"):
        with pytest.raises(EvaluationError, match="captioning"):
            protocol(name)


def test_command_writes_answers_and_a_record(endpoint, tmp_path, write_json):
    endpoint.answer = lambda text: f"{len(re.findall('chair', text)) * 10}#x"
    rows = [
        {"object_id": i.item_id, "ground_truth": i.reference, "model_output": i.text} for i in ITEMS
    ]
    path = write_json(tmp_path / "test.json", {"results": rows})
    command = ["--predictions", str(path), "--protocol", "captioning", "--endpoint", endpoint.url]
    assert main([*command, "--model", "org/judge:1"]) == 0
    record = json.loads((tmp_path / "test_judge_org-judge-1_captioning_metrics.json").read_text())
    assert record["metrics"]["judge/org/judge:1/caption_score"]["value"] == pytest.approx(0.1)
    assert record["extra"]["judge"] == "org/judge:1"
    assert (tmp_path / "judge_cache").is_dir()
    assert main([*command, "--model", "j", "--key-env", "NO_SUCH_VARIABLE_HERE"]) == 1
