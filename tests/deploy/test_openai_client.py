"""OpenAI's own client against the server; answers held against OpenAI's published schemas."""

from __future__ import annotations

import asyncio
import json

import openai
import pydantic
import pytest
import served
import torch

HELLO = [{"role": "user", "content": "What is 2 + 3?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Look something up.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "maxLength": 6}},
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time")
]


@pytest.fixture(scope="module")
def service():
    with served.served() as (made, url):
        made.url = url
        yield made


@pytest.fixture(scope="module")
def client(service):
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)


def reference(service, conversation) -> list[int]:
    """Greedy tokens of transformers' own generate."""
    ids = torch.tensor([service.template.encode_prompt(conversation)])
    model = served.loaded().model
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12,
        eos_token_id=list(service.template.stop_token_ids),
    )  # fmt: skip
    return made[0, ids.shape[1] :].tolist()


def test_a_chat_completion_is_what_generate_writes(service, client):
    from swiftrl.core.messages import Conversation, Message

    reply = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=12)
    conversation = Conversation((Message("user", "What is 2 + 3?"),))
    wanted = reference(service, conversation)
    assert reply.choices[0].message.content == service.template.decode(
        wanted, skip_special_tokens=True
    )
    assert reply.usage.prompt_tokens == len(service.template.encode_prompt(conversation))
    assert reply.usage.completion_tokens == len(wanted)
    validate_chat(reply)


def validate_chat(reply) -> None:
    served.validate(json.loads(reply.to_json()), "CreateChatCompletionResponse")


def test_streams_say_what_whole_answers_say(client):
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "temperature": 1.0, "seed": 5,
             "n": 2, "logprobs": True, "top_logprobs": 2}  # fmt: skip
    whole = client.chat.completions.create(**asked)
    validate_chat(whole)
    texts, tokens, reasons, usage = ["", ""], [[], []], [None, None], None
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    for event in stream:
        served.validate(json.loads(event.to_json()), "CreateChatCompletionStreamResponse")
        usage = event.usage or usage
        for choice in event.choices:
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    for choice in whole.choices:
        assert texts[choice.index] == choice.message.content
        assert [t.token for t in tokens[choice.index]] == [t.token for t in choice.logprobs.content]
        assert reasons[choice.index] == choice.finish_reason
        assert all(len(t.top_logprobs) == 2 for t in choice.logprobs.content)
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.total_tokens == whole.usage.total_tokens
    assert whole.choices[0].message.content != whole.choices[1].message.content


def test_sampling_fields_take_effect(service, client):
    def text(**fields) -> str:
        made = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=8, **fields)
        return made.choices[0].message.content

    plain = text()
    assert text(seed=3, temperature=2.0) == text(seed=3, temperature=2.0)
    assert text(stop=plain[4:6]) == plain[:4]
    first = served.loaded().tokenizer(plain)["input_ids"][0]
    assert text(logit_bias={str(first): -100})[:3] != plain[:3]
    made = client.chat.completions.create(model="tiny", messages=HELLO, max_completion_tokens=2)
    assert (made.choices[0].finish_reason, made.usage.completion_tokens) == ("length", 2)


def test_structured_output_by_parse(client):
    class Person(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=6)
        adult: bool

    made = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Person, temperature=1.0, seed=1
    )
    assert isinstance(made.choices[0].message.parsed, Person)
    made = client.chat.completions.create(
        model="tiny", messages=HELLO, temperature=0.5, seed=4, max_tokens=60,
        extra_body={"guided_choice": ["left", "right"]},
    )  # fmt: skip
    assert made.choices[0].message.content in ("left", "right")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "time"}),
        ({"type": "function", "function": {"name": "time"}}, {"time"}),
    ],
    ids=["required", "named"],
)
def test_tools_that_must_be_called(client, choice, names):
    asked = {"model": "tiny", "messages": HELLO, "tools": TOOLS, "tool_choice": choice,
             "temperature": 1.0, "seed": 2}  # fmt: skip
    made = client.chat.completions.create(**asked)
    validate_chat(made)
    assert made.choices[0].finish_reason == "tool_calls"
    [call] = made.choices[0].message.tool_calls
    assert call.function.name in names
    assert set(json.loads(call.function.arguments)) == {"place"}
    name, arguments, reason = "", "", None
    for event in client.chat.completions.create(**asked, stream=True):
        served.validate(json.loads(event.to_json()), "CreateChatCompletionStreamResponse")
        [choice_] = event.choices
        for delta in choice_.delta.tool_calls or ():
            name += delta.function.name or ""
            arguments += delta.function.arguments or ""
        reason = choice_.finish_reason or reason
    assert (name, json.loads(arguments)) == (
        call.function.name, json.loads(call.function.arguments),
    )  # fmt: skip
    assert reason == "tool_calls"


def test_tools_may_be_left_alone(client):
    for choice in ("auto", "none"):
        made = client.chat.completions.create(
            model="tiny", messages=HELLO, tools=TOOLS, tool_choice=choice, max_tokens=4
        )
        assert made.choices[0].message.content is not None


def test_a_tools_answer_goes_back_to_the_model(client):
    call = {"id": "c1", "type": "function",
            "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}  # fmt: skip
    messages = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "Sunny"}]  # fmt: skip
    made = client.chat.completions.create(
        model="tiny", messages=messages, tools=TOOLS, max_tokens=3
    )
    assert made.usage.completion_tokens <= 3


def test_completions_of_text_lists_and_tokens(service, client):
    ids = served.loaded().tokenizer("The answer")["input_ids"]
    for prompt in ("The answer", ["The answer"], ids, [ids]):
        made = client.completions.create(model="tiny", prompt=prompt, max_tokens=5, temperature=0)
        served.validate(json.loads(made.to_json()), "CreateCompletionResponse")
        texts = {choice.text for choice in made.choices}
        assert made.usage.prompt_tokens == len(ids)
    two = client.completions.create(
        model="tiny", prompt=["The answer", "One"], max_tokens=5, n=2, seed=1
    )
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
    streamed = client.completions.create(
        model="tiny", prompt="The answer", max_tokens=5, temperature=0, stream=True
    )
    assert "".join(event.choices[0].text for event in streamed) in texts


def test_echoed_prompts_with_their_logprobs(client):
    made = client.completions.create(
        model="tiny", prompt="The answer", echo=True, logprobs=1, max_tokens=0
    )
    [choice] = made.choices
    assert choice.text == "The answer" == "".join(choice.logprobs.tokens)
    assert choice.logprobs.token_logprobs[0] is None
    ids = torch.tensor([served.loaded().tokenizer("The answer")["input_ids"]])
    with torch.no_grad():
        logps = served.loaded().model(ids).logits[0].log_softmax(-1)
    wanted = logps[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist()
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(wanted, abs=1e-4)
    assert made.usage.completion_tokens == 0


def test_models_and_tokens(service, client):
    models = client.models.list()
    served.validate(json.loads(models.to_json()), "ListModelsResponse")
    assert [model.id for model in models] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("nobody")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="nobody", messages=HELLO)
    root = client.with_options(base_url=service.url)
    made = root.post("/tokenize", cast_to=object, body={"prompt": "The answer"})
    assert made["count"] == len(made["tokens"])
    back = root.post("/detokenize", cast_to=object, body={"tokens": made["tokens"]})
    assert back == {"prompt": "The answer"}


def test_32_clients_at_once(service):
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=300
        ) as client:
            made = await asyncio.gather(
                *[
                    client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=12)
                    for _ in range(32)
                ]
            )
        return [one.choices[0].message.content for one in made]

    assert len(set(asyncio.run(ask()))) == 1
