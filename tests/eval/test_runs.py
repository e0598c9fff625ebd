"""Whole evaluations of the built-in model: here and by a server, stopped and gone on, compared."""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from swiftrl.backends.detect import BACKENDS
from swiftrl.cli.main import main
from swiftrl.core.errors import DataError, EngineError
from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.eval.answering import Ask, Kept, Weigh, ask_all
from swiftrl.eval.local import LocalAnswerer, continuation_ids
from swiftrl.eval.remote import RemoteAnswerer, served_model
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model
from swiftrl.models.resolve import resolve
from swiftrl.templates.template import Template

MODEL = "builtin:tiny-instruct"
MCQ = [{"question": f"What is {a} + 1?", "A": str(a + 1), "B": str(a + 5), "C": "7000",
        "answer": "A"} for a in range(1, 7)]  # fmt: skip


@pytest.fixture(scope="module")
def answerer():
    resolved = resolve(MODEL)
    config = ModelConfig(model=MODEL, torch_dtype="float32")
    loaded = load_model(resolved, config, BACKENDS.get("cpu"))
    model, tokenizer = loaded.model, loaded.tokenizer
    template = Template.load(tokenizer)
    return LocalAnswerer(
        TransformersEngine(model, tokenizer), model, template,
        SamplingParams(temperature=0.0), "tiny", chat=False, at_once=4,
    )  # fmt: skip


def evaluate(folder: Path, *words: str) -> int:
    return main(["eval", "--model", MODEL, "--use_cpu", "true", "--eval_output_dir", str(folder),
                 *words])  # fmt: skip


def mcq(tmp_path, rows=MCQ):
    file = tmp_path / "val.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return json.dumps({"general_mcq": {"local_path": str(file)}})


def test_likelihoods_are_the_models(answerer):
    """Held against logits of each row alone, summed token by token."""
    pairs = [Weigh("What is 3 + 1?", " 4"), Weigh("The sky is ", "blue"), Weigh("a b c", " d e f"),
             Weigh("一加一等于", "二")]  # fmt: skip
    found = answerer.likelihoods(pairs)
    tokenizer = answerer.template.tokenizer
    for pair, value in zip(pairs, found, strict=True):
        whole = tokenizer.encode(pair.context + pair.continuation)
        start = len(tokenizer.encode(pair.context.rstrip()))
        logits = answerer.model(torch.tensor([whole])).logits.detach()[0].float().log_softmax(-1)
        expected = sum(float(logits[i - 1, whole[i]]) for i in range(start, len(whole)))
        assert value == pytest.approx(expected, abs=1e-3)
    ids, first = continuation_ids(tokenizer, "The sky is ", "blue")
    assert tokenizer.decode(ids[first:]) == " blue"
    with pytest.raises(EngineError, match="must have tokens"):
        answerer.likelihoods([Weigh("", "a")])


def test_a_stopped_run_asks_only_what_is_missing(tmp_path):
    asks = [Ask(f"question {i % 7}", "", (), 8, i % 7) for i in range(10)]
    asked = []

    def answer(part):
        asked.extend(part)
        if len(asked) > 4:
            raise KeyboardInterrupt
        return [ask.prompt.upper() for ask in part]

    kept = Kept(tmp_path / "replies.jsonl")
    with pytest.raises(KeyboardInterrupt):
        ask_all(asks, "model", answer, kept, 2)
    kept.close()
    with (tmp_path / "replies.jsonl").open("a") as file:
        file.write('["half a li')  # killed while it wrote
    asked.clear()
    again = Kept(tmp_path / "replies.jsonl")

    def go_on(part):
        asked.extend(part)
        return [ask.prompt.upper() for ask in part]

    found = ask_all(asks, "model", go_on, again, 2)
    assert found == [ask.prompt.upper() for ask in asks]
    assert [ask.number for ask in asked] == [4, 5, 6]
    asked.clear()
    ask_all(asks, "another", go_on, again, 2)
    assert len(asked) == 7
    again.close()
    (tmp_path / "replies.jsonl").write_text("broken\n")
    with pytest.raises(DataError, match=r"replies.jsonl:1: not an answer"):
        Kept(tmp_path / "replies.jsonl")


@pytest.mark.parametrize("way", ["chat", "raw"])
def test_reports_are_the_same_after_a_stop(tmp_path, way, capsys):
    words = ("--eval_dataset", "general_mcq", "builtin", "--eval_prompt", way, "--eval_limit", "3",
             "--eval_dataset_args", mcq(tmp_path))  # fmt: skip
    assert evaluate(tmp_path / "one", *words) == 0
    report = json.loads((tmp_path / "one/report.json").read_text())
    samples = (tmp_path / "one/samples/builtin.jsonl").read_text()
    page = (tmp_path / "one/report.html").read_text()
    assert "general_mcq" in page and "data:image/png;base64," in page
    assert set(report["tasks"]) == {"general_mcq", "builtin"}
    assert report["tasks"]["general_mcq"]["metrics"]["acc"]["number"] == 3
    assert ("acc_norm" in report["tasks"]["general_mcq"]["metrics"]) == (way == "raw")
    kept = tmp_path / "one/replies.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[: len(lines) // 2]) + lines[-1][:9])
    assert evaluate(tmp_path / "one", *words) == 0
    assert len(kept.read_text().splitlines()) == len(lines)
    assert json.loads((tmp_path / "one/report.json").read_text()) == report
    assert (tmp_path / "one/samples/builtin.jsonl").read_text() == samples
    capsys.readouterr()
    assert main(["eval", "--compare", str(tmp_path / "one"), str(tmp_path / "one")]) == 0
    assert "no significant difference" in " ".join(capsys.readouterr().out.split())


def test_tries_give_pass_and_majority(tmp_path):
    words = ("--eval_dataset", "builtin", "--eval_limit", "1", "--eval_repeats", "3",
             "--eval_generation_config", '{"temperature": 0.8, "seed": 1}')  # fmt: skip
    assert evaluate(tmp_path / "many", *words) == 0
    found = json.loads((tmp_path / "many/report.json").read_text())["tasks"]["builtin"]["metrics"]
    assert found["acc"]["mean"] <= found["pass@3"]["mean"]
    lines = [json.loads(line) for line in
             (tmp_path / "many/samples/builtin.jsonl").read_text().splitlines()]  # fmt: skip
    assert all(len(line["replies"]) == 3 for line in lines)
    expected = sum(max(line["values"]["acc"]) for line in lines) / len(lines)
    assert found["pass@3"]["mean"] == pytest.approx(expected)


class Server(BaseHTTPRequestHandler):
    """Answers like an OpenAI server with a model of one letter a token; fails every third time."""

    calls = 0
    key = "secret-key"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send({"data": [{"id": "letters"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).calls += 1
        if self.headers.get("Authorization") != f"Bearer {self.key}":
            return self.send({"error": {"message": "no such key"}}, 401)
        if type(self).calls % 3 == 0:
            return self.send({"error": {"message": "busy"}}, 503)
        if self.path.endswith("chat/completions"):
            text = body["messages"][-1]["content"][::-1]
            return self.send({"choices": [{"message": {"content": text}}]})
        text = body["prompt"]
        values = [None] + [-math.log(ord(c)) for c in text[1:]] + [-1.0]
        return self.send({"choices": [{"text": "!", "logprobs": {
            "text_offset": list(range(len(text) + 1)), "token_logprobs": values}}]})  # fmt: skip

    def send(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("swiftrl.eval.remote.LONGEST_WAIT_S", 0.01)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/v1"
    served.shutdown()
    served.server_close()


def remote(url, **changes):
    told = {"chat": True, "at_once": 4, "key": Server.key} | changes
    return RemoteAnswerer(url, "letters", SamplingParams(temperature=0.0), "id", **told)


def test_a_server_answers_though_it_is_busy_at_times(server):
    asks = [Ask(f"question {i}", "be brief", (), 5, i) for i in range(12)]
    assert remote(server).replies(asks) == [ask.prompt[::-1] for ask in asks]
    found = remote(server, chat=False).likelihoods([Weigh("ab", "cd"), Weigh("ab ", "c")])
    assert found == pytest.approx(
        [-math.log(ord("c")) - math.log(ord("d")), -math.log(ord(" ")) - math.log(ord("c"))]
    )


def test_what_a_server_refuses_is_said_once_and_the_key_is_not(server):
    with pytest.raises(EngineError, match="HTTP 401: no such key"):
        remote(server, key="wrong").replies([Ask("a", "", (), 5, 0)])
    assert "secret-key" not in repr(remote(server))
    with pytest.raises(EngineError, match="models there: letters"):
        served_model(server, Server.key, "words")
    assert served_model(server, Server.key, None) == "letters"
    with pytest.raises(EngineError, match="ConnectError"):
        served_model("http://127.0.0.1:9/v1", None, None)


def test_evaluation_of_a_server(server, tmp_path, capsys):
    file = tmp_path / "test.jsonl"
    file.write_text('{"query": "abc", "response": "cba"}\n{"query": "abd", "response": "x"}\n')
    told = json.dumps({"general_qa": {"local_path": str(file)}})
    words = ["--eval_dataset", "general_qa", "--eval_dataset_args", told]
    place = ["--eval_url", server, "--eval_api_key", Server.key]
    assert main(["eval", *place, *words, "--eval_output_dir", str(tmp_path / "out")]) == 0
    report = (tmp_path / "out/report.json").read_text()
    assert json.loads(report)["tasks"]["general_qa"]["metrics"]["exact_match"]["mean"] == 0.5
    assert Server.key not in report + capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--eval_dataset is missing"),
        (("--eval_dataset", "gsm9k"), "Did you mean 'gsm8k'?"),
        (("--eval_dataset", "builtin", "--eval_repeats", "2"), "would be the same"),
        (("--eval_dataset", "builtin", "--eval_limit", "0"), "at least 1"),
        (("--eval_dataset", "builtin", "--eval_dataset_args", '{"gsm8k": {}}'), "not among"),
        (("--eval_dataset", "builtin", "--eval_dataset_args", '{"builtin": {"n": 1}}'),
         "unknown 'n'"),
        (("--eval_dataset", "builtin", "--eval_generation_config", '{"heat": 1}'),
         "unknown 'heat'"),
        (("--eval_dataset", "general_qa"), "no data set of its own"),
        (("--compare", "here"), "expected two"),
        (("--compare", "/nowhere/a", "/nowhere/b"), "no report.json"),
        (("--eval_dataset", "builtin", "--eval_url", "localhost"), "expected http"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_anything_loads(tmp_path, words, message, capsys):
    assert evaluate(tmp_path / "out", *words) in (1, 2)
    assert message in capsys.readouterr().err
