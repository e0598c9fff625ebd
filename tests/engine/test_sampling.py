import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.core.errors import EngineError
from swiftrl.engine.sampling import SamplingParams, choose, generators, penalise, truncate

PROBABILITIES = torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]])
LOGITS = PROBABILITIES.log()


def kept(**params) -> list[int]:
    return torch.isfinite(truncate(LOGITS, SamplingParams(**params))).nonzero()[:, 1].tolist()


def draws(count: int, logits=LOGITS, **params) -> torch.Tensor:
    rows = logits.expand(count, -1)
    sources = [random.Random(seed) for seed in range(count)]
    seen = torch.zeros_like(rows, dtype=torch.bool)
    return choose(rows, seen, SamplingParams(**params), sources)[0]


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
    seen = torch.ones(1, 5, dtype=torch.bool)
    params = SamplingParams(temperature=0.5, top_k=1, repetition_penalty=1.5)
    tokens, logprobs = choose(LOGITS, seen, params, [random.Random(0)])
    wanted = (LOGITS / 0.5).log_softmax(-1)[0, tokens[0]]
    torch.testing.assert_close(logprobs[0], wanted)


def test_the_penalty_lowers_both_signs():
    logits = torch.tensor([[2.0, -2.0, 2.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalise(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0]]


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
    token, logprob = choose(row, torch.zeros_like(row).bool(), params, [random.Random(seed)])
    if params.greedy:
        assert row[0, token[0]] == row.max()
    else:
        assert truncate(row / temperature, params).softmax(-1)[0, token[0]] > 0
    assert logprob[0] <= 1e-6


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
