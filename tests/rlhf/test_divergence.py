"""Distances between distributions, against the full logits and by hand."""

import math

import pytest
import torch
from torch import nn

from swiftrl.rlhf.divergence import Distance, linear_distances, module_distances
from swiftrl.rlhf.logprobs import LinearHead, LogitTerms

BETAS = (0.0, 0.1, 0.5, 0.9, 1.0)


def _by_hand(z, y, beta):
    """The definition, on probabilities."""
    q, p = z.softmax(1), y.softmax(1)

    def kl(a, b):
        return (a * (a / b).log()).sum(1)

    if beta in (0.0, 1.0):
        return kl(p, q) if beta == 0 else kl(q, p)
    m = beta * p + (1 - beta) * q
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


def test_two_tokens_by_hand():
    """P = (3/4, 1/4), Q = (1/2, 1/2).

    KL(P||Q) = 3/4 ln 3/2 + 1/4 ln 1/2; KL(Q||P) = 1/2 ln 2/3 + 1/2 ln 2.
    beta = 1/2: M = (5/8, 3/8), half the sum of KL(P||M) and KL(Q||M).
    """
    z, y = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    both = 0.5 * (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3))
    both += 0.5 * (0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3))
    for beta, expected in ((0.0, forward), (1.0, reverse), (0.5, both)):
        distance = Distance(beta)
        log_q, log_p, _ = distance.support(z, y)
        assert distance.value(log_q, log_p).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_slope_is_the_gradient(beta):
    torch.manual_seed(0)
    z = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, 11, dtype=torch.float64)
    distance = Distance(beta)
    log_q, log_p, _ = distance.support(z, y)
    torch.testing.assert_close(distance.value(log_q, log_p), _by_hand(z, y, beta))
    (expected,) = torch.autograd.grad(_by_hand(z, y, beta).sum(), z)
    torch.testing.assert_close(distance.slope(log_q, log_p).detach(), expected)
    assert torch.autograd.gradcheck(
        lambda logits: distance.value(*distance.support(logits, y)[:2]), z
    )


def _heads(dtype, terms=None, top=None):
    torch.manual_seed(1)
    tokens, width, wide, vocabulary = 9, 6, 7, 13
    hidden = torch.randn(tokens, width, dtype=dtype, requires_grad=True)
    states = torch.randn(tokens, wide, dtype=dtype)
    ids = torch.randint(vocabulary, (tokens,))
    share = torch.rand(tokens, dtype=dtype)
    terms = terms or LogitTerms()
    head = nn.Linear(width, vocabulary, bias=True, dtype=dtype)
    own = LinearHead(head.weight.detach(), head.bias.detach(), terms, dtype, 4)
    other = LinearHead(torch.randn(vocabulary, wide, dtype=dtype), None, LogitTerms(2.0), dtype, 4)
    return hidden, states, ids, share, head, own, other


def _full(hidden, states, ids, share, head, own, other, distance):
    z = own.terms.apply(head(hidden))
    y = other.terms.apply(states @ other.weight.t())
    likelihood = -z.log_softmax(1).gather(1, ids[:, None]).squeeze(1)
    if distance.top_k is not None:
        y, chosen = y.topk(distance.top_k, dim=1)
        z = z.gather(1, chosen)
    return _by_hand(z, y, distance.beta) + share * likelihood


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("terms", [LogitTerms(), LogitTerms(1.5, 4.0, 0.7)])
def test_chunks_equal_the_whole(beta, top_k, terms):
    distance = Distance(beta, top_k, likelihood=0.3)
    hidden, states, ids, share, head, own, other = _heads(torch.float64, terms)
    weights = torch.rand(len(ids), dtype=torch.float64)
    expected = _full(hidden, states, ids, share, head, own, other, distance)
    (slope,) = torch.autograd.grad((weights * expected).sum(), hidden, retain_graph=True)
    found, logps = linear_distances(hidden, ids, share, own, states, other, distance)
    torch.testing.assert_close(found, expected)
    z = own.terms.apply(head(hidden)).log_softmax(1)
    torch.testing.assert_close(logps, z.gather(1, ids[:, None]).squeeze(1).detach())
    assert not logps.requires_grad
    torch.testing.assert_close(torch.autograd.grad((weights * found).sum(), hidden)[0], slope)


def test_a_head_that_trains():
    distance = Distance(0.5, likelihood=0.2)
    hidden, states, ids, share, head, own, other = _heads(torch.float32)
    expected = _full(hidden, states, ids, share, head, own, other, distance).sum()
    wanted = torch.autograd.grad(expected, [hidden, head.weight, head.bias])
    found, _ = module_distances(hidden, ids, share, head, own.terms, states, other, distance)
    assert found.sum().item() == pytest.approx(expected.item(), rel=1e-6)
    for got, want in zip(
        torch.autograd.grad(found.sum(), [hidden, head.weight, head.bias]), wanted, strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_equal_models_are_at_no_distance():
    for beta in BETAS:
        hidden, _, ids, share, _, own, _ = _heads(torch.float32)
        found, _ = linear_distances(
            hidden, ids, torch.zeros_like(share), own, hidden.detach(), own, Distance(beta)
        )
        assert found.abs().max() < 1e-6


def test_no_tokens():
    hidden, states, ids, share, _, own, other = _heads(torch.float32)
    found, logps = linear_distances(
        hidden[:0], ids[:0], share[:0], own, states[:0], other, Distance(0.5)
    )
    assert found.shape == logps.shape == (0,)
    found.sum().backward()
