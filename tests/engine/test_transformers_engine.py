import device
import pytest
import tiny_models
import torch

from swiftrl.core.errors import EngineError
from swiftrl.core.messages import Conversation, Message
from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.models.config import ModelConfig, TunerConfig
from swiftrl.models.load import load_model, stop_token_ids
from swiftrl.models.lora import add_lora
from swiftrl.models.resolve import resolve
from swiftrl.templates.template import Template

TOKENIZER = tiny_models.make_tokenizer()
TEXTS = ["one two three", "你好，世界。", "The quick brown fox jumps over the lazy dog.", "a"]
PROMPTS = [TOKENIZER.encode(text) for text in TEXTS]
GREEDY = SamplingParams(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def model():
    return tiny_models.make_model()


@pytest.fixture(scope="module")
def engine(model):
    return TransformersEngine(model, TOKENIZER)


def tokens(replies) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in row] for row in replies]


def reference(model, prompt, **settings) -> list[int]:
    """Tokens of transformers' own generate for one prompt alone."""
    ids = device.put(torch.tensor([prompt]))
    mask = torch.ones_like(ids)
    options = {"do_sample": False, "max_new_tokens": 24, "eos_token_id": 2, **settings}
    return model.generate(ids, attention_mask=mask, **options)[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", ["Qwen3", "Llama", "Qwen2", "Gemma2"])
def test_greedy_equals_generate(kind):
    model = tiny_models.make_model(kind, seed=3)
    replies = TransformersEngine(model, TOKENIZER).generate(PROMPTS, GREEDY)
    for prompt, [reply] in zip(PROMPTS, replies, strict=True):
        assert list(reply.token_ids) == reference(model, prompt)


def test_repetition_penalty_equals_generates(model, engine):
    params = SamplingParams(temperature=0, max_tokens=24, repetition_penalty=1.5)
    replies = engine.generate(PROMPTS, params)
    for prompt, [reply] in zip(PROMPTS, replies, strict=True):
        assert list(reply.token_ids) == reference(model, prompt, repetition_penalty=1.5)


def test_the_models_generation_config_does_not_leak_in():
    model = tiny_models.make_model()
    plain = tokens(TransformersEngine(model, TOKENIZER).generate(PROMPTS, GREEDY))
    model.generation_config.repetition_penalty = 3.0
    model.generation_config.no_repeat_ngram_size = 1
    model.generation_config.max_length = 5
    published = model.generation_config
    assert tokens(TransformersEngine(model, TOKENIZER).generate(PROMPTS, GREEDY)) == plain
    assert model.generation_config is published


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logprobs_equal_the_prefills(model, engine, temperature):
    params = SamplingParams(temperature=temperature, max_tokens=24, seed=1, top_k=20)
    for prompt, row in zip(PROMPTS, engine.generate(PROMPTS, params, n=2), strict=True):
        for reply in row:
            ids = device.put(torch.tensor([[*prompt, *reply.token_ids]]))
            with torch.no_grad():
                logits = model(ids).logits[0, len(prompt) - 1 : -1] / (temperature or 1.0)
            wanted = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
            torch.testing.assert_close(
                torch.tensor(reply.logprobs), wanted.cpu(), atol=1e-4, rtol=0
            )


def test_a_seeded_reply_does_not_depend_on_its_batch(model):
    params = SamplingParams(seed=7, max_tokens=12)
    together = tokens(TransformersEngine(model, TOKENIZER).generate(PROMPTS, params, n=3))
    apart = TransformersEngine(model, TOKENIZER, max_batch_size=2).generate(PROMPTS, params, n=3)
    assert tokens(apart) == together
    assert len({reply for row in together for reply in row}) == 12
    assert tokens(TransformersEngine(model, TOKENIZER).generate(PROMPTS, params)) == [
        row[:1] for row in together
    ]


def test_streaming_equals_batched(engine):
    for params in (GREEDY, SamplingParams(seed=3, max_tokens=24)):
        [[whole]] = engine.generate([PROMPTS[0]], params)
        chunks = list(engine.stream(PROMPTS[0], params))
        assert chunks[-1].completion is not None
        assert chunks[-1].completion.token_ids == whole.token_ids
        assert "".join(chunk.text for chunk in chunks) == whole.text
        assert sum((chunk.token_ids for chunk in chunks), ()) == whole.token_ids


def test_closing_a_stream_aborts_it(engine):
    stream = engine.stream(PROMPTS[0], SamplingParams(seed=0, max_tokens=200))
    next(stream)
    stream.close()
    assert engine.lock.acquire(timeout=10)  # the decoding thread has let go of the model
    engine.lock.release()


def test_stop_token_ids_end_and_stay_in_the_tokens(engine):
    [[whole]] = engine.generate([PROMPTS[0]], GREEDY)
    stop = whole.token_ids[5]
    params = SamplingParams(temperature=0, max_tokens=24, stop_token_ids=(stop,))
    [[reply]] = engine.generate([PROMPTS[0]], params)
    cut = whole.token_ids.index(stop)
    assert reply.token_ids == whole.token_ids[: cut + 1]
    assert reply.finish_reason == "stop"
    assert reply.text == TOKENIZER.decode(whole.token_ids[:cut], skip_special_tokens=True)


def test_stop_texts_end_the_reply(engine):
    params = SamplingParams(seed=5, max_tokens=60)
    [[whole]] = engine.generate([PROMPTS[2]], params)
    stop = next(text for text in whole.text[3:] if text.isascii())
    cut = SamplingParams(seed=5, max_tokens=60, stop=(stop,))
    [[reply]] = engine.generate([PROMPTS[2]], cut)
    assert reply.text == whole.text[: whole.text.index(stop)]
    assert reply.finish_reason == "stop"
    assert reply.token_ids == whole.token_ids[: len(reply.token_ids)]
    assert "".join(chunk.text for chunk in engine.stream(PROMPTS[2], cut)) == reply.text


def test_length_ends_at_max_tokens_or_at_the_models_limit(engine):
    [[reply]] = engine.generate([PROMPTS[0]], SamplingParams(seed=0, max_tokens=3))
    assert (len(reply.token_ids), reply.finish_reason) == (3, "length")
    long = [5] * 250  # the model takes 256 tokens
    [[reply]] = engine.generate([long], SamplingParams(temperature=0, max_tokens=None))
    assert len(reply.token_ids) <= 6
    with pytest.raises(EngineError, match="leaves no room"):
        engine.generate([[5] * 256], GREEDY)
    with pytest.raises(EngineError, match="no tokens"):
        engine.generate([[]], GREEDY)


def test_adapters_and_training_mode_are_left_as_they_were():
    adapted = add_lora(tiny_models.make_model(), TunerConfig(lora_dropout=0.5))
    torch.manual_seed(0)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.1
    engine = TransformersEngine(adapted, TOKENIZER)
    adapted.train()
    replies = engine.generate(PROMPTS, GREEDY)
    assert adapted.training and all(module.training for module in adapted.modules())
    assert tokens(replies) == tokens(engine.generate(PROMPTS, GREEDY))  # no dropout
    with adapted.disable_adapter():
        assert tokens(engine.generate(PROMPTS, GREEDY)) != tokens(replies)


def test_completions_carry_the_policys_version(engine):
    engine.policy_version = 4
    [[reply]] = engine.generate([PROMPTS[3]], SamplingParams(temperature=0, max_tokens=2))
    assert reply.policy_version == 4
    engine.policy_version = 0


def test_an_error_while_streaming_reaches_the_caller(model):
    engine = TransformersEngine(model, TOKENIZER)
    with pytest.raises(IndexError):
        list(engine.stream([10**6], GREEDY))  # no such token


def test_the_built_in_model_answers_as_generate_does():
    loaded = load_model(
        resolve("builtin:tiny-instruct"), ModelConfig(torch_dtype="float32"), device.backend()
    )
    template = Template.load(loaded.tokenizer)
    texts = [f"What is {number} + {number * 3}?" for number in range(12)]
    prompts = [
        template.encode_prompt(Conversation((Message("user", text),))) for text in (*texts, "Hi")
    ]
    replies = TransformersEngine(loaded.model, loaded.tokenizer).generate(prompts, GREEDY)
    stops = list(stop_token_ids(loaded.model, loaded.tokenizer, loaded.spec))
    for prompt, [reply] in zip(prompts, replies, strict=True):
        assert list(reply.token_ids) == reference(loaded.model, prompt, eos_token_id=stops)
        assert reply.finish_reason == "stop"


def test_the_head_never_multiplies_a_slice():
    """Of several prompts' last tokens, which a CPU would copy the head for as often."""
    model = tiny_models.make_model()
    seen = []
    model.lm_head.register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].is_contiguous() and inputs[0].shape[:2])
    )
    engine = TransformersEngine(model, tiny_models.make_tokenizer())
    engine.generate([[5, 6, 7], [8, 9, 10]], SamplingParams(temperature=0, max_tokens=2))
    assert (2, 1) in seen
    assert all(seen)
    assert not model.lm_head._forward_pre_hooks
