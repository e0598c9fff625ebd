"""What clients may not do, and that one of them never harms another."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import served

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
ENDLESS = {**HELLO, "max_tokens": 1000, "ignore_eos": True}


@pytest.fixture(scope="module")
def service():
    with served.served(max_request_mib=0.1) as (made, url):
        made.url = url
        yield made


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def picture(url) -> dict:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part]}]}


def nested(depth: int) -> bytes:
    return b'{"messages": ' + b"[" * depth + b"]" * depth + b"}"


HUGE = b'{"max_tokens": ' + b"9" * 5000 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe{}", b'{"messages": NaN}',
        b'{"messages": "\\ud800"}', nested(100), nested(40000), HUGE,
        b'{"messages": []}', b'{"messages": {}}', b'{"messages": [1]}', b'{"messages": [{}]}',
        b'{"messages": [{"role": "nobody", "content": "x"}]}',
        b'{"messages": [{"role": "user"}]}',
        b'{"messages": [{"role": ["user"], "content": "x"}]}',
        b'{"messages": [{"role": "user", "content": 5}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}',
        b'{"messages": [{"role": "user", "content": [[]]}]}',
        b'{"messages": [{"role": "assistant", "tool_calls": [{"function": 1}]}]}',
        *[json.dumps({**HELLO, **wrong}).encode() for wrong in (
            {"temperature": "hot"}, {"temperature": -1}, {"temperature": 1e300}, {"n": 0},
            {"n": 10**9}, {"n": True}, {"max_tokens": -5}, {"stop": [""]}, {"stop": ["a"] * 99},
            {"logit_bias": {"x": 1}}, {"logit_bias": {"999999": 1}}, {"top_logprobs": 3},
            {"logprobs": True, "top_logprobs": 9999}, {"stream_options": {}}, {"unknown": 1},
            {"tools": [{}]}, {"tools": "x"}, {"tool_choice": "required"}, {"seed": 2**70},
            {"response_format": {"type": "nothing"}}, {"response_format": {"type": "json_schema"}},
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 7}}}},
            {"guided_regex": "("}, {"guided_grammar": "start: nothing"}, {"stop_token_ids": [-1]},
            {"chat_template_kwargs": {"x": 1}},
        )],
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_harms_nobody(http, body):
    answer = http.post(CHAT, content=body)
    assert answer.status_code == 400, answer.text
    served.validate(answer.json(), "ErrorResponse")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert http.post(CHAT, json=HELLO).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "/etc/passwd", "http://127.0.0.1/", "https://127.0.0.1/",
        "https://169.254.169.254/latest", "https://example.com@127.0.0.1/", "https://[::1]/",
        "ftp://example.com/", "https://example.com:22/", "HTTPS://localhost", "", 5, None, {},
        "https://[", "data:image/png,notbase64",
    ],
)  # fmt: skip
def test_media_come_from_nowhere_by_default(http, url):
    answer = http.post(CHAT, json=picture(url))
    assert answer.status_code == 400
    assert "root:" not in answer.text


def test_only_the_operators_hosts_are_fetched_from():
    from swiftrl.deploy.conversation import conversation_of
    from swiftrl.deploy.problems import Problem

    def ask(url: str):
        return conversation_of(picture(url)["messages"], (), ["good.example"])

    assert ask("https://good.example/a.png").messages[0].content[0].source.endswith("a.png")
    for url in ("https://evil.example/", "http://good.example/", "https://good.example:444/",
                "https://good.example.evil/", "https://good.example@evil/"):  # fmt: skip
        with pytest.raises(Problem, match="media"):
            ask(url)


def test_other_routes_and_methods(http):
    for method, path, status in (("GET", CHAT, 405), ("POST", "/nothing", 404),
                                 ("GET", "/v1/models/../../etc/passwd", 404)):  # fmt: skip
        answer = http.request(method, path)
        assert answer.status_code == status
        served.validate(answer.json(), "ErrorResponse")
    assert http.get("/health").json() == {"status": "ok"}
    assert http.get("/ready").status_code == 200
    assert "swiftrl_generation_tokens_total" in http.get("/metrics").text
    assert http.post("/invocations", json=HELLO).json()["object"] == "chat.completion"


def test_large_and_long_requests(http):
    assert http.post(CHAT, content=b" " * 200_000).status_code == 413
    long = {"messages": [{"role": "user", "content": "word " * 9000}]}
    answer = http.post(CHAT, json=long)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_adapters_are_not_loaded_by_request_unless_allowed(http):
    asked = {"lora_name": "a", "lora_path": "/etc"}
    assert http.post("/v1/load_lora_adapter", json=asked).status_code == 403


def test_half_a_request_and_half_a_stream(service, http):
    host = service.url.removeprefix("http://").split(":")
    for sent in (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{",
                 b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):  # fmt: skip
        with socket.create_connection((host[0], int(host[1]))) as connection:
            connection.sendall(sent)
    assert http.post(CHAT, json=HELLO).status_code == 200


@pytest.mark.parametrize("streamed", [True, False])
def test_those_who_leave_free_their_places(service, http, streamed):
    for _ in range(20):
        if streamed:
            with http.stream("POST", CHAT, json={**ENDLESS, "stream": True}) as answer:
                next(answer.iter_lines())
        else:
            with pytest.raises(httpx.TimeoutException):
                httpx.post(service.url + CHAT, json=ENDLESS, timeout=0.05)
    until = time.monotonic() + 60
    while (service.active or service.engine.running or service.engine.waiting) and (
        time.monotonic() < until
    ):
        time.sleep(0.05)
    assert (service.active, service.engine.running, service.engine.waiting) == (0, 0, 0)


def test_keys_are_asked_for_everywhere_but_on_health():
    with served.served(api_key=["first", "second"]) as (_, url), httpx.Client(base_url=url) as http:
        for headers in ({}, {"Authorization": "Bearer firs"}, {"Authorization": "Basic first"}):
            for path in ("/v1/models", "/metrics", "/nothing"):
                answer = http.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
        assert http.get("/health").status_code == 200
        for key in ("first", "second"):
            answer = http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200


def test_a_full_queue_says_when_to_come_back():
    with served.served(replies=1, max_waiting=0) as (service, url):
        service.engine.sleep()
        held = threading.Thread(target=httpx.post, args=(url + CHAT,), kwargs={"json": HELLO})
        held.start()
        while not service.active:
            time.sleep(0.01)
        answer = httpx.post(url + CHAT, json=HELLO)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "rate_limit_error"
        assert httpx.post(url + CHAT, json={**HELLO, "n": 2}).status_code == 400
        service.engine.wake()
        held.join()
        assert httpx.post(url + CHAT, json=HELLO).status_code == 200


def test_a_request_is_given_up_in_time():
    with served.served(request_timeout_s=0.05) as (service, url):
        answer = httpx.post(url + CHAT, json=ENDLESS, timeout=60)
        assert answer.status_code == 408
        assert service.active == 0


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "swiftrl", "deploy", "--use_cpu", "true", *words]


def test_sigterm_finishes_what_was_accepted():
    process = subprocess.Popen(
        command("--model", "builtin:tiny-instruct", "--port", "0", "--temperature", "0"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().split(" at ")[1].split(" ")[0]
    asked = {**HELLO, "max_tokens": 200, "ignore_eos": True}
    answers: list[httpx.Response | None] = [None] * 12
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            httpx.get(f"{url}/ready")
            break
        except httpx.ConnectError:
            time.sleep(0.05)

    def ask(place: int) -> None:
        answers[place] = httpx.post(url + CHAT, json=asked, timeout=120)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(answers))]
    for thread in threads:
        thread.start()
    while "swiftrl_running 12.0" not in httpx.get(f"{url}/metrics").text:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert process.wait(60) == 0
    assert [a.json()["usage"]["completion_tokens"] for a in answers if a] == [200] * 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "99999"], "--port 99999: expected"),
        (["--host", "203.0.113.7"], "cannot listen there"),
        (["--ssl_keyfile", "nowhere"], "--ssl_keyfile nowhere: no such file"),
        (["--adapters_root", "nowhere"], "no such folder"),
        (["--max_model_len", "1"], "--max_model_len 1: expected"),
        (["--model", "nowhere/at-all"], "nowhere/at-all"),
    ],
)
def test_mistakes_end_in_one_message(words, message, capsys, tmp_path: Path):
    from swiftrl.cli.main import main

    model = [] if "--model" in words else ["--model", "builtin:tiny-instruct"]
    assert main(["deploy", "--use_cpu", "true", "--port", "0", *model, *words]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_port_in_use_is_named(capsys):
    from swiftrl.cli.main import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["deploy", "--use_cpu", "true", "--model", "builtin:tiny-instruct", "--port", port]
        assert main(words) == 2
    assert f"--port {port}: cannot listen there" in capsys.readouterr().err
