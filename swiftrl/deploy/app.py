"""The server's routes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from swiftrl.core.errors import SwiftRLError
from swiftrl.deploy.access import AccessLog
from swiftrl.deploy.answers import answer, in_thread
from swiftrl.deploy.body import Body, checked, read_json
from swiftrl.deploy.chat import prepare_chat
from swiftrl.deploy.completions import prepare_completions
from swiftrl.deploy.conversation import conversation_of, tools_of
from swiftrl.deploy.mailbox import Hub
from swiftrl.deploy.problems import Problem, problem_of
from swiftrl.deploy.schemas import ChatBody, CompletionBody
from swiftrl.deploy.security import Keys
from swiftrl.deploy.service import Service

__all__ = ["make_app"]


class TokenizeBody(Body):
    """POST /tokenize: text, or messages that the chat template writes."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[int]


class AdapterBody(Body):
    """POST /v1/load_lora_adapter and /v1/unload_lora_adapter."""

    lora_name: str
    lora_path: str | None = None


def make_app(service: Service) -> Any:
    """Return the ASGI application of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.hub = Hub(asyncio.get_running_loop())
        yield
        service.draining = True

    app = FastAPI(
        title="swiftrl", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_exception_handler(Problem, lambda _, error: error.response())  # type: ignore[attr-defined]
    app.add_exception_handler(SwiftRLError, lambda _, error: problem_of(error).response())  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RecursionError, _too_deep)
    _add_states(app, service)
    _add_generation(app, service)
    _add_models(app, service)
    _add_tokens(app, service)
    metrics = service.metrics
    metrics.watch("swiftrl_running", "Replies being written", lambda: service.engine.running)
    metrics.watch("swiftrl_waiting", "Replies waiting", lambda: service.engine.waiting)
    guarded = Keys(app, service.config.api_key)
    return AccessLog(guarded, metrics, written=service.config.access_log)


async def _http_problem(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    text = {404: "there is no such route", 405: "this route does not know the method"}
    message = text.get(status, str(getattr(error, "detail", "")))
    return Problem(status, f"{message}.", headers=getattr(error, "headers", None)).response()


async def _too_deep(_: Request, error: Exception) -> Response:
    return Problem(400, "the request is nested too deeply.").response()


def _add_states(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    @app.get("/ping")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        if service.draining:
            raise Problem(503, "the server is shutting down.", headers={"Retry-After": "5"})
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text())

    @app.get("/version")
    async def version() -> Response:
        from swiftrl import __version__

        return JSONResponse({"version": __version__})


def _add_generation(app: FastAPI, service: Service) -> None:
    async def chat_of(request: Request, value: dict[str, Any]) -> Response:
        body = checked(ChatBody, value)
        made = await in_thread(lambda: prepare_chat(service, body))
        return await answer(
            service, request, made, replies=made.request.n, streamed=bool(body.stream)
        )

    async def completions_of(request: Request, value: dict[str, Any]) -> Response:
        body = checked(CompletionBody, value)
        made = await in_thread(lambda: prepare_completions(service, body))
        replies = sum(one.n for one in made.requests)
        return await answer(service, request, made, replies=replies, streamed=bool(body.stream))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await chat_of(request, await read_json(request, service.most_bytes))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await completions_of(request, await read_json(request, service.most_bytes))

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        value = await read_json(request, service.most_bytes)
        return await (chat_of if "messages" in value else completions_of)(request, value)


def _add_models(app: FastAPI, service: Service) -> None:
    started = int(time.time())

    def described(name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": started,
            "owned_by": service.config.owned_by,
            "max_model_len": service.engine.bounds.longest,
            "parent": service.names[0] if name in service.engine.adapters else None,
        }

    @app.get("/v1/models")
    async def models() -> Response:
        names = [*service.names, *service.engine.adapters]
        return JSONResponse({"object": "list", "data": [described(name) for name in names]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        service.adapter(name)
        return JSONResponse(described(name))

    @app.post("/v1/load_lora_adapter")
    async def load(request: Request) -> Response:
        body = checked(AdapterBody, await read_json(request, service.most_bytes))
        if not 0 < len(body.lora_name) <= 200 or body.lora_name in service.names:
            raise Problem(400, "'lora_name': expected a name of its own.", param="lora_name")
        folder = _inside(service.config.adapters_root, body.lora_path)
        await in_thread(lambda: service.engine.add_adapter(body.lora_name, folder))
        return JSONResponse({"status": "loaded", "lora_name": body.lora_name})

    @app.post("/v1/unload_lora_adapter")
    async def unload(request: Request) -> Response:
        body = checked(AdapterBody, await read_json(request, service.most_bytes))
        _inside(service.config.adapters_root, ".")
        await in_thread(lambda: service.engine.remove_adapter(body.lora_name))
        return JSONResponse({"status": "unloaded", "lora_name": body.lora_name})


def _inside(root: str | None, path: str | None) -> Path:
    """Return a folder that a request names, which lies in the operator's.

    Raises:
        Problem: it does not.
    """
    if root is None:
        raise Problem(403, "adapters are not loaded by request; the server has no --adapters_root.")
    base = Path(root).resolve()
    try:
        found = (base / (path or "")).resolve()
    except (OSError, ValueError):
        found = Path("/")
    if path is None or not found.is_relative_to(base) or not found.is_dir():
        raise Problem(400, "'lora_path': no folder in --adapters_root.", param="lora_path")
    return found


def _add_tokens(app: FastAPI, service: Service) -> None:
    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        body = checked(TokenizeBody, await read_json(request, service.most_bytes))
        if (body.prompt is None) == (body.messages is None):
            raise Problem(400, "expected either 'prompt' or 'messages'.", param="prompt")
        ids = await in_thread(lambda: _ids(service, body))
        told: dict[str, Any] = {
            "count": len(ids),
            "max_model_len": service.engine.bounds.longest,
            "tokens": ids,
        }
        if body.return_token_strs:
            told["token_strs"] = [service.tokens.text(token) for token in ids]
        return JSONResponse(told)

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        body = checked(DetokenizeBody, await read_json(request, service.most_bytes))
        service.engine.bounds.check_ids(body.tokens, "tokens")
        text = await in_thread(lambda: service.template.decode(body.tokens))
        return JSONResponse({"prompt": text})


def _ids(service: Service, body: TokenizeBody) -> list[int]:
    if body.prompt is not None:
        tokenizer = service.template.tokenizer
        return list(tokenizer(body.prompt, add_special_tokens=body.add_special_tokens)["input_ids"])
    conversation = conversation_of(body.messages or [], tools_of(body.tools), ())
    return list(service.template.encode_prompt(conversation))
