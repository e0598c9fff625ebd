"""A server in this process, for tests."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import uvicorn

from swiftrl.deploy.app import make_app
from swiftrl.deploy.config import DeployConfig
from swiftrl.deploy.server import listen
from swiftrl.deploy.service import Service
from swiftrl.engine.continuous import Limits
from swiftrl.engine.embedded import EmbeddedEngine
from swiftrl.engine.sampling import SamplingParams
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model
from swiftrl.models.resolve import resolve
from swiftrl.templates.template import Template

DEFAULTS = SamplingParams(temperature=0, max_tokens=None)


@functools.cache
def loaded() -> Any:
    """The built-in model, in float32."""
    import device

    config = ModelConfig(torch_dtype="float32")
    return load_model(resolve("builtin:tiny-instruct"), config, device.backend())


@contextlib.contextmanager
def served(*, replies: int = 16, **settings: Any) -> Iterator[tuple[Service, str]]:
    """Yield a service and its address."""
    model = loaded()
    template = Template.load(model.tokenizer)
    engine = EmbeddedEngine(
        model.model,
        model.tokenizer,
        stop_token_ids=template.stop_token_ids,
        shown_token_ids=template.mark_token_ids,
        limits=Limits(replies=replies),
    )
    config = DeployConfig(port=0, access_log=False, **settings)
    service = Service(engine, template, ("tiny",), DEFAULTS, config, replies)
    sock = listen(config)
    server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield service, f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        engine.close()
        sock.close()


@functools.cache
def _schemas() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "openai_schemas.json").read_text())


def validate(value: Any, name: str) -> None:
    """Hold a value against the schema that OpenAI publishes for it."""
    jsonschema.Draft202012Validator({**_schemas(), "$ref": f"#/$defs/{name}"}).validate(value)
