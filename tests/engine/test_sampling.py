import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.core.errors import EngineError
from swiftrl.engine.sampling import Draw, SamplingParams, choose, generators, penalise, truncate

PROBABILITIES = torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]])
LOGITS = PROBABILITIES.log()


def kept(**params) -> list[int]:
    return torch.isfinite(truncate(LOGITS, SamplingParams(**params))).nonzero()[:, 1].tolist()


def draws(count: int, logits=LOGITS, **params) -> torch.Tensor:
    rows = logits.expand(count, -1)
    asked = SamplingParams(**params)
    return torch.tensor(choose(rows, [Draw(asked, random.Random(s)) for s in range(count)]).tokens)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 1]),
        ({"top_k": -1}, [0, 1, 2, 3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.51}, [0, 1]),
        ({"top_p": 0.9}, [0, 1, 2]),
        ({"min_p": 0.2}, [0, 1, 2]),
        ({"top_k": 3, "min_p": 0.4}, [0, 1]),
        # After top_k=2 the two share 1: 2/3 and 1/3.
        ({"top_k": 2, "top_p": 0.6}, [0]),
    ],
    ids=str,
)
def test_truncation(params, expected):
    assert kept(**params) == expected


def test_the_draws_follow_the_distribution():
    count = 20_000
    frequency = torch.bincount(draws(count), minlength=5) / count
    # Five standard deviations of a frequency of 0.5 over 20,000 draws.
    assert (frequency - PROBABILITIES[0]).abs().max() < 5 * math.sqrt(0.25 / count)


def test_temperature_sharpens():
    count = 20_000
    frequency = torch.bincount(draws(count, temperature=0.5), minlength=5) / count
    wanted = (PROBABILITIES[0] ** 2) / (PROBABILITIES[0] ** 2).sum()
    assert (frequency - wanted).abs().max() < 5 * math.sqrt(0.25 / count)


def test_zero_temperature_is_the_likeliest():
    assert draws(50, temperature=0).unique().tolist() == [0]


def test_logprobs_are_the_trainers_whatever_is_cut():
    params = SamplingParams(temperature=0.5, top_k=1, repetition_penalty=1.5)
    chosen = choose(LOGITS, [Draw(params, random.Random(0), prompt=range(5))])
    wanted = (LOGITS / 0.5).log_softmax(-1)[0, chosen.tokens[0]]
    assert chosen.logprobs[0] == pytest.approx(float(wanted))
    plain = SamplingParams(temperature=0.5, top_k=1, at_temperature=False)
    chosen = choose(LOGITS, [Draw(plain, random.Random(0))])
    assert chosen.logprobs[0] == pytest.approx(math.log(0.5))


def test_the_penalty_lowers_both_signs():
    assert penalise(torch.tensor([2.0, -2.0]), 2.0).tolist() == [1.0, -4.0]


def likeliest(counts=(), prompt=(), **params) -> int:
    one = Draw(SamplingParams(temperature=0, **params), random.Random(0), prompt)
    for token in counts:
        one.add(token)
    return choose(LOGITS, [one]).tokens[0]


def test_penalties_count_what_occurred():
    # ln 0.5 - ln 0.25 = 0.69 lies between one penalty of 0.4 and two of them.
    assert likeliest([0], frequency_penalty=0.4) == 0
    assert likeliest([0, 0], frequency_penalty=0.4) == 1
    assert likeliest([0, 0], presence_penalty=0.4) == 0
    assert likeliest([0], presence_penalty=0.7) == 1
    # OpenAI's look at the reply alone, Keskar's at the prompt too: 2.1 ln 0.5 < ln 0.25.
    assert likeliest(prompt=[0], presence_penalty=0.7) == 0
    assert likeliest(prompt=[0], repetition_penalty=2.1) == 1


def test_a_bias_is_added():
    assert likeliest(logit_bias=((4, 3.0),)) == 4  # ln 0.03 + 3 = -0.51 > ln 0.5 = -0.69
    assert likeliest(logit_bias=((0, -100.0),)) == 1


def test_each_row_obeys_its_own_request():
    asked = [
        SamplingParams(temperature=0),
        SamplingParams(top_k=1, logit_bias=((2, 100.0),)),
        SamplingParams(temperature=0, top_logprobs=2),
        SamplingParams(min_p=0.99, top_logprobs=1),
    ]
    draws = [Draw(one, random.Random(0)) for one in asked]
    chosen = choose(LOGITS.expand(4, -1), draws)
    assert chosen.tokens == [0, 2, 0, 0]
    assert [[token for token, _ in top] for top in chosen.tops] == [[], [], [0, 1], [0]]
    assert chosen.tops[2][1][1] == pytest.approx(math.log(0.25))
    assert chosen.logprobs[1] == pytest.approx(math.log(0.15))


def test_samples_depend_on_seed_prompt_and_number_alone():
    def numbers(*args):
        return [source.random() for source in generators(*args)]

    assert numbers(1, 0, 3)[:2] == numbers(1, 0, 2)
    distinct = {*numbers(1, 0, 3), *numbers(1, 1, 3), *numbers(2, 0, 3)}
    assert len(distinct) == 9
    assert numbers(None, 0, 1) != numbers(None, 0, 1)


@settings(max_examples=200, deadline=None)
@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=40),
    top_k=st.integers(0, 5),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 0.99),
    temperature=st.floats(0, 3),
    seed=st.integers(0, 2**32),
)
def test_what_is_drawn_was_never_cut(logits, top_k, top_p, min_p, temperature, seed):
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    row = torch.tensor([logits])
    chosen = choose(row, [Draw(params, random.Random(seed))])
    [token] = chosen.tokens
    if params.greedy:
        assert row[0, token] == row.max()
    else:
        assert truncate(row / temperature, params).softmax(-1)[0, token] > 0
    assert chosen.logprobs[0] <= 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -2},
        {"min_p": 1},
        {"repetition_penalty": 0},
        {"max_tokens": 0},
        {"stop": ("",)},
    ],
    ids=str,
)
def test_values_out_of_range_are_named(wrong):
    with pytest.raises(EngineError, match=next(iter(wrong))):
        SamplingParams(**wrong)
