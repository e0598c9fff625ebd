"""What requests may hold. Names and meanings are OpenAI's; those of vLLM follow below them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from swiftrl.deploy.body import Body

__all__ = ["ChatBody", "CompletionBody", "Sampled", "StreamOptions"]

Id = Annotated[int, Field(ge=0, le=2**31)]


class StreamOptions(Body):
    """What a stream tells besides."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampled(Body):
    """How replies are sampled."""

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    max_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None
    user: str | None = None
    # Beyond OpenAI's, named as vLLM has them.
    top_k: Annotated[int, Field(ge=-1, le=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    stop_token_ids: list[Id] | None = None
    ignore_eos: bool | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_choice: list[str] | None = None
    return_token_ids: bool | None = None


class ChatBody(Sampled):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    modalities: list[Literal["text"]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    # Taken and without effect here: they concern OpenAI's own service.
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prediction: dict[str, Any] | None = None
    verbosity: str | None = None


class CompletionBody(Sampled):
    """POST /v1/completions."""

    prompt: str | list[str] | list[Id] | list[list[Id]]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0)] | None = None
    suffix: None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    add_special_tokens: bool | None = None
