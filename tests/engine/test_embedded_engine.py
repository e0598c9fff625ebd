"""Continuous batching: replies are what each would be alone, whoever else is in the batch."""

from __future__ import annotations

import gc
import json
import random
import re
import threading
import time

import device
import pytest
import tiny_models
import torch

from swiftrl.core.errors import EngineError, ModelError
from swiftrl.engine.base import Chunk, Request
from swiftrl.engine.continuous import Limits
from swiftrl.engine.embedded import EmbeddedEngine
from swiftrl.engine.sampling import Grammar, SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.models.config import TunerConfig
from swiftrl.models.lora import add_lora

TOKENIZER = tiny_models.make_tokenizer()
GREEDY = SamplingParams(temperature=0, max_tokens=20)
MIXTURE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2,
           "moe_intermediate_size": 16}  # fmt: skip
ARCHITECTURES = {
    "Llama": {}, "Qwen2": {}, "Qwen3": {}, "Mistral": {"sliding_window": 8}, "Phi3": {},
    "Gemma": {}, "Gemma2": {"sliding_window": 8}, "Olmo3": {"sliding_window": 8},
    "Cohere2": {"sliding_window": 8},
    "Olmo2": {}, "Granite": {}, "Cohere": {}, "Glm": {}, "Helium": {}, "Starcoder2": {},
    "Qwen3Moe": MIXTURE, "Mixtral": MIXTURE, "SmolLM3": {"no_rope_layers": [1, 0]},
    "GptOss": {**MIXTURE, "sliding_window": 8},
}  # fmt: skip


def prompts(count: int, seed: int = 0, longest: int = 60) -> list[list[int]]:
    source = random.Random(seed)
    return [
        [source.randrange(3, 300) for _ in range(source.randint(1, longest))] for _ in range(count)
    ]


def reference(model, prompt, **settings) -> list[int]:
    """Tokens of transformers' own generate for one prompt alone."""
    ids = device.put(torch.tensor([prompt]))
    options = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": 2, **settings}
    found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return found[0, len(prompt) :].tolist()


def engine_of(model, **settings) -> EmbeddedEngine:
    return EmbeddedEngine(model, TOKENIZER, **settings)


@pytest.fixture(scope="module")
def model():
    return tiny_models.make_model()


@pytest.fixture
def engine(model):
    made = engine_of(model)
    yield made
    made.close()


def tokens(replies) -> list[list[tuple[int, ...]]]:
    return [[reply.token_ids for reply in row] for row in replies]


class Collected:
    """The chunks of one request."""

    def __init__(self, count: int = 1) -> None:
        self.chunks: list[Chunk] = []
        self._left = count
        self._done = threading.Event()

    def __call__(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self._left -= chunk.completion is not None or chunk.error is not None
        if not self._left:
            self._done.set()

    def wait(self) -> list[Chunk]:
        assert self._done.wait(60)
        return self.chunks

    @property
    def last(self) -> Chunk:
        return self.wait()[-1]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_greedy_equals_generate_alone_and_64_at_random_times(kind):
    model = tiny_models.make_model(kind, seed=3, **ARCHITECTURES[kind])
    engine = engine_of(model, limits=Limits(replies=24, prefill_tokens=48))
    assert engine.continuous
    asked = prompts(64)
    [[alone]] = engine.generate([asked[0]], GREEDY)
    source, arriving = random.Random(1), []
    for prompt in asked:
        arriving.append(Collected())
        engine.submit(Request(prompt, GREEDY), arriving[-1])
        if source.random() < 0.2:
            time.sleep(0.005)
    found = [one.last.completion.token_ids for one in arriving]
    engine.close()
    assert alone.token_ids == found[0]
    for prompt, written in list(zip(asked, found, strict=True))[::4]:
        assert list(written) == reference(model, prompt)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logprobs_of_decoding_equal_the_prefills(model, engine, temperature):
    params = SamplingParams(temperature=temperature, max_tokens=20, seed=1, top_k=20)
    asked = prompts(6)
    for prompt, row in zip(asked, engine.generate(asked, params, n=2), strict=True):
        for reply in row:
            ids = device.put(torch.tensor([[*prompt, *reply.token_ids]]))
            with torch.no_grad():
                logits = model(ids).logits[0, len(prompt) - 1 : -1] / (temperature or 1.0)
            wanted = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
            torch.testing.assert_close(
                torch.tensor(reply.logprobs), wanted.cpu(), atol=1e-4, rtol=0
            )


def test_seeded_replies_equal_those_of_generate(model, engine):
    params = SamplingParams(seed=7, max_tokens=12)
    asked = prompts(5)
    batched = TransformersEngine(model, TOKENIZER).generate(asked, params, n=3)
    assert tokens(engine.generate(asked, params, n=3)) == tokens(batched)


def test_streams_equal_whole_replies(engine):
    for params in (GREEDY, SamplingParams(seed=3, max_tokens=30, stop=("e",), top_logprobs=2)):
        [[whole]] = engine.generate([prompts(1)[0]], params)
        chunks = list(engine.stream(prompts(1)[0], params))
        last = chunks[-1].completion
        assert (last.text, last.token_ids) == (whole.text, whole.token_ids)
        assert "".join(chunk.text for chunk in chunks) == whole.text
        assert sum((chunk.token_ids for chunk in chunks), ()) == whole.token_ids
        assert sum((chunk.logprobs for chunk in chunks), ()) == last.logprobs
        assert sum((chunk.top_logprobs for chunk in chunks), ()) == last.top_logprobs


def test_a_prompt_is_read_once_for_all_its_samples(engine):
    prompt = prompts(1, seed=5, longest=60)[0] * 2
    got = Collected(4)
    engine.submit(Request(prompt, GREEDY, n=4), got)
    firsts = {}
    for chunk in got.wait():
        firsts.setdefault(chunk.index, chunk.cached)
    assert sorted(firsts.values()) == [0] + [len(prompt) - 1] * 3


def test_keys_and_values_are_reused_across_turns(model, engine):
    first = prompts(1, seed=6)[0]
    [[reply]] = engine.generate([first], GREEDY)
    following = [*first, *reply.token_ids, 40, 41, 42]
    got = Collected()
    engine.submit(Request(following, GREEDY), got)
    assert got.last.cached == len(first) + len(reply.token_ids) - 1
    assert list(got.last.completion.token_ids) == reference(model, following)


def test_little_memory_makes_replies_wait_and_changes_none(model):
    free = engine_of(model)
    asked = prompts(12, seed=2)
    long = SamplingParams(temperature=0, max_tokens=150, ignore_eos=True)
    wanted = free.generate(asked, long)
    free.close()
    token = 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, bytes
    tight = engine_of(model, limits=Limits(cache_bytes=8 * 256 * token, prefixes=2))
    assert tokens(tight.generate(asked, long)) == tokens(wanted)
    tight.close()


def test_an_aborted_reply_ends_and_the_others_go_on(model, engine):
    long = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
    got, other = Collected(), Collected()
    ticket = engine.submit(Request([5, 6, 7], long), got)
    engine.submit(Request(prompts(1)[0], GREEDY), other)
    while not got.chunks:
        time.sleep(0.001)
    ticket.abort()
    assert got.last.completion.finish_reason == "abort"
    assert list(other.last.completion.token_ids) == reference(model, prompts(1)[0])
    ticket.abort()  # harmless


def test_a_closed_stream_frees_its_place(engine):
    stream = engine.stream([5, 6], SamplingParams(max_tokens=None, ignore_eos=True))
    next(stream)
    stream.close()
    began = time.monotonic()
    while engine.running and time.monotonic() - began < 10:
        time.sleep(0.005)
    assert engine.running == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request([], GREEDY), "no tokens"),
        (Request([5] * 256, GREEDY), "leaves no room"),
        (Request([10**6], GREEDY), "is no token"),
        (Request([5, -1], GREEDY), "is no token"),
        (Request([5], SamplingParams(logit_bias=((9999, 1.0),))), "logit_bias"),
        (Request([5], GREEDY, adapter="nobody"), "no adapter"),
        (Request([5], SamplingParams(grammar=Grammar("regex", "("))), "regex"),
        (Request([5], SamplingParams(grammar=Grammar("json_schema", "["))), "json_schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_answered_is_refused_at_once(engine, request_, message):
    with pytest.raises(EngineError, match=message):
        engine.submit(request_, Collected())


def test_the_prompts_own_logprobs(model):
    engine = engine_of(model, limits=Limits(prefill_tokens=16))
    prompt = prompts(1, seed=9)[0] * 3
    got = Collected()
    engine.submit(Request(prompt, GREEDY, prompt_logprobs=2), got)
    scores = got.wait()[0].prompt_logprobs
    engine.close()
    ids = device.put(torch.tensor([prompt]))
    with torch.no_grad():
        wanted = model(ids).logits[0].log_softmax(-1).cpu()
    assert len(scores) == len(prompt) - 1
    for place, (logprob, top) in enumerate(scores):
        assert logprob == pytest.approx(float(wanted[place, prompt[place + 1]]), abs=1e-4)
        assert [token for token, _ in top] == wanted[place].topk(2).indices.tolist()


@pytest.mark.parametrize("pattern", ["(one|two) [0-9]{3}", "[a-c]{4,6}"])
def test_a_regular_expression_holds(engine, pattern):
    params = SamplingParams(temperature=1.5, seed=1, grammar=Grammar("regex", pattern))
    for row in engine.generate(prompts(3), params, n=3):
        for reply in row:
            assert re.fullmatch(pattern, reply.text)
            assert reply.finish_reason == "stop"


def test_a_schema_holds_beside_free_replies(model, engine):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 5}, "old": {"type": "boolean"}},
        "required": ["name", "old"],
        "additionalProperties": False,
    }
    params = SamplingParams(seed=3, grammar=Grammar("json_schema", json.dumps(schema)))
    free, bound = Collected(), Collected()
    engine.submit(Request(prompts(1)[0], GREEDY), free)
    engine.submit(Request([5, 6, 7], params), bound)
    assert set(json.loads(bound.last.completion.text)) == {"name", "old"}
    assert list(free.last.completion.token_ids) == reference(model, prompts(1)[0])


def adapter(folder, seed: int, rank: int = 4, **sizes):
    """Write an adapter that changes what the tiny model says."""
    adapted = add_lora(tiny_models.make_model(**sizes), TunerConfig(lora_rank=rank))
    source = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = device.put(torch.randn(parameter.shape, generator=source) * 0.3)
    adapted.save_pretrained(folder)
    return adapted.eval()


def test_adapters_are_mixed_in_one_batch(tmp_path):
    adapted = {name: adapter(tmp_path / name, seed, rank) for name, seed, rank in (
        ("a", 1, 4), ("b", 2, 8))}  # fmt: skip
    base = tiny_models.make_model()
    engine = engine_of(tiny_models.make_model())
    for name in adapted:
        engine.add_adapter(name, tmp_path / name)
    assert engine.adapters == ("a", "b")
    asked = prompts(24, seed=4)
    names = [("a", "b", None)[index % 3] for index in range(len(asked))]
    got = [Collected() for _ in asked]
    for prompt, name, one in zip(asked, names, got, strict=True):
        engine.submit(Request(prompt, GREEDY, adapter=name), one)
    for prompt, name, one in zip(asked, names, got, strict=True):
        assert list(one.last.completion.token_ids) == reference(adapted.get(name, base), prompt)
    engine.remove_adapter("a")
    with pytest.raises(EngineError, match="no adapter"):
        engine.submit(Request([5], GREEDY, adapter="a"), Collected())
    engine.remove_adapter("b")
    [[reply]] = engine.generate([asked[0]], GREEDY)
    assert list(reply.token_ids) == reference(base, asked[0])
    engine.close()


def test_an_adapter_of_another_base_is_refused_and_changes_nothing(tmp_path, model):
    adapter(tmp_path / "wide", 1, hidden_size=64)
    engine = engine_of(tiny_models.make_model())
    with pytest.raises(ModelError, match=r"does not fit Qwen3ForCausalLM.*_features"):
        engine.add_adapter("wide", tmp_path / "wide")
    [[reply]] = engine.generate([prompts(1)[0]], GREEDY)
    assert list(reply.token_ids) == reference(model, prompts(1)[0])
    assert engine.adapters == ()
    engine.close()


def test_new_weights_take_effect_at_once(model):
    engine = engine_of(tiny_models.make_model())
    other = tiny_models.make_model(seed=8)
    [[before]] = engine.generate([prompts(1)[0]], GREEDY)
    engine.update_weights(other.named_parameters())
    [[after]] = engine.generate([prompts(1)[0]], GREEDY)
    assert list(before.token_ids) == reference(model, prompts(1)[0])
    assert list(after.token_ids) == reference(other, prompts(1)[0])
    assert (before.policy_version, after.policy_version) == (0, 1)
    with pytest.raises(EngineError, match="absent"):
        engine.update_weights([("nothing.weight", torch.zeros(2))])
    engine.close()


def test_a_sleeping_engine_waits_and_goes_on(model, engine):
    long = SamplingParams(temperature=0, max_tokens=100, ignore_eos=True)
    got = Collected()
    engine.submit(Request(prompts(1)[0], long), got)
    while not got.chunks:
        time.sleep(0.001)
    engine.sleep()
    told = len(got.chunks)
    time.sleep(0.05)
    assert len(got.chunks) == told
    engine.wake()
    found = got.last.completion.token_ids
    wanted = reference(model, prompts(1)[0], max_new_tokens=100, eos_token_id=None)
    assert list(found) == wanted


def test_a_model_that_does_not_bear_it_is_answered_one_by_one():
    model = tiny_models.make_model()
    for layer in model.model.layers:  # what a layer sees depends on how long the row is
        layer.mlp.register_forward_pre_hook(
            lambda _, inputs: (inputs[0] + inputs[0].mean(1, keepdim=True),)
        )
    engine = engine_of(model)
    assert not engine.continuous
    asked = prompts(3, longest=8)
    found = engine.generate(asked, GREEDY, n=2)
    wanted = TransformersEngine(model, TOKENIZER).generate(asked, GREEDY, n=2)
    assert tokens(found) == tokens(wanted)
    chunks = list(engine.stream(asked[0], GREEDY))
    assert chunks[-1].completion.token_ids == wanted[0][0].token_ids
    engine.close()


def test_a_closed_engine_leaves_nothing_behind(model):
    before = threading.active_count()
    engine = engine_of(model)
    got = Collected()
    engine.submit(Request([5, 6], SamplingParams(max_tokens=None, ignore_eos=True)), got)
    engine.close()
    assert got.last.completion.finish_reason == "abort"
    assert threading.active_count() == before
    with pytest.raises(EngineError, match="closing"):
        engine.submit(Request([5], GREEDY), got)
    gc.collect()
