"""Chunked log-probabilities against log_softmax over the whole matrix of logits."""

import pytest
import torch

from swiftrl.backends import products
from swiftrl.rlhf.logprobs import LogitTerms, linear_logprobs, module_logprobs


def _case(dtype=torch.float64, n=7, d=5, v=11):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, d, generator=generator, dtype=dtype)
    weight = torch.randn(v, d, generator=generator, dtype=dtype)
    bias = torch.randn(v, generator=generator, dtype=dtype)
    ids = torch.randint(0, v, (n,), generator=generator)
    return hidden, weight, bias, ids


def _plain(hidden, weight, bias, ids, soft_cap, scale, temperature):
    z = torch.nn.functional.linear(hidden, weight, bias) * scale
    if soft_cap is not None:
        z = torch.tanh(z / soft_cap) * soft_cap
    log_p = (z / temperature).log_softmax(-1)
    return log_p.gather(1, ids[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(-1)


TERMS = [
    pytest.param(None, 1.0, 1.0, id="plain"),
    pytest.param(2.0, 1.0, 1.0, id="soft-cap"),
    pytest.param(None, 0.25, 1.0, id="scale"),
    pytest.param(None, 1.0, 0.7, id="temperature"),
    pytest.param(3.0, 0.5, 1.3, id="all"),
]


@pytest.mark.parametrize(("soft_cap", "scale", "temperature"), TERMS)
@pytest.mark.parametrize("trained", ["nothing", "hidden", "head", "hidden-and-head"])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_values_and_gradients(soft_cap, scale, temperature, trained, entropy, with_bias):
    hidden, weight, bias, ids = _case()
    bias = bias if with_bias else None
    leaves = [hidden] * ("hidden" in trained) + [weight, bias] * ("head" in trained)
    leaves = [leaf.requires_grad_() for leaf in leaves if leaf is not None]
    logps, entropies = linear_logprobs(
        hidden, weight, ids, bias=bias, soft_cap=soft_cap, logit_scale=scale,
        temperature=temperature, chunk=3, want_entropy=entropy,
    )  # fmt: skip
    expected, expected_entropies = _plain(hidden, weight, bias, ids, soft_cap, scale, temperature)
    torch.testing.assert_close(logps, expected)
    factor = torch.arange(1.0, 8.0, dtype=hidden.dtype)
    loss, expected_loss = (logps * factor).sum(), (expected * factor).sum()
    if entropy:
        torch.testing.assert_close(entropies, expected_entropies)
        loss = loss + (entropies * factor.flip(0)).sum()
        expected_loss = expected_loss + (expected_entropies * factor.flip(0)).sum()
    else:
        assert entropies is None
    if leaves:
        found = torch.autograd.grad(loss, leaves)
        torch.testing.assert_close(found, torch.autograd.grad(expected_loss, leaves))
    else:
        assert not logps.requires_grad


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("soft_cap", [None, 2.0])
def test_gradcheck(entropy, soft_cap):
    hidden, weight, bias, ids = _case(n=4, d=3, v=5)
    hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()

    def run(hidden, weight, bias):
        found = linear_logprobs(
            hidden, weight, ids, bias=bias, soft_cap=soft_cap, chunk=3, want_entropy=entropy
        )
        return found if entropy else found[0]

    assert torch.autograd.gradcheck(run, (hidden, weight, bias))
    assert torch.autograd.gradcheck(
        lambda states: run(states, weight.detach(), bias.detach()), (hidden,)
    )


def test_no_matrix_of_logits_is_kept():
    hidden, weight, _, ids = _case(torch.float32, n=64, d=4, v=1000)
    hidden.requires_grad_()
    largest = 0

    def seen(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        linear_logprobs(hidden, weight, ids, chunk=8)
    assert largest <= 64 * 4


def test_bfloat16_is_softmaxed_in_float32():
    hidden, weight, _, ids = _case(torch.float32, n=32, d=16, v=500)
    states, head = hidden.bfloat16(), weight.bfloat16()
    logps, _ = linear_logprobs(states, head, ids)
    expected = (states @ head.t()).float().log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps, expected)
    exact, _ = linear_logprobs(states, head, ids, products=torch.float32)
    wide = (states.float() @ head.float().t()).log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    torch.testing.assert_close(exact, wide)


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1e4, 0.0]], requires_grad=True)
    weight = torch.eye(2)
    logps, entropy = linear_logprobs(hidden, weight, torch.tensor([1]), want_entropy=True)
    (logps.sum() + entropy.sum()).backward()
    assert logps.item() == pytest.approx(-1e4)
    assert entropy.item() == pytest.approx(0.0)
    assert torch.isfinite(hidden.grad).all()


def test_nothing_to_predict():
    hidden = torch.zeros(0, 3, requires_grad=True)
    logps, _ = linear_logprobs(hidden, torch.zeros(5, 3), torch.zeros(0, dtype=torch.int64))
    assert logps.shape == (0,)
    logps.sum().backward()
    assert hidden.grad is not None


def test_head_module_equals_linear():
    hidden, weight, bias, ids = _case(torch.float32)
    hidden.requires_grad_()
    head = torch.nn.Linear(5, 11)
    with torch.no_grad():
        head.weight.copy_(weight), head.bias.copy_(bias)
    terms = LogitTerms(0.5, 3.0, 1.3)
    by_module = module_logprobs(hidden, head, ids, terms=terms, chunk=3, want_entropy=True)
    by_weight = linear_logprobs(
        hidden, head.weight, ids, bias=head.bias, soft_cap=3.0, logit_scale=0.5,
        temperature=1.3, chunk=4, want_entropy=True,
    )  # fmt: skip
    leaves = [hidden, head.weight, head.bias]
    for found, expected in zip(by_module, by_weight, strict=True):
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad(found.sum(), leaves, retain_graph=True),
            torch.autograd.grad(expected.sum(), leaves, retain_graph=True),
        )


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("soft_cap", [None, 2.0])
def test_strips_change_nothing(monkeypatch, trained, soft_cap):
    def run():
        torch.manual_seed(0)
        hidden = torch.randn(11, 6, requires_grad=True)
        weight = torch.randn(9, 6, requires_grad=trained)
        ids = torch.randint(9, (11,))
        logps, entropy = linear_logprobs(
            hidden, weight, ids, soft_cap=soft_cap, chunk=5, want_entropy=trained
        )
        total = (logps * torch.arange(11)).sum() + (0 if entropy is None else entropy.sum())
        total.backward()
        return logps.detach(), hidden.grad, *([weight.grad] if trained else [])

    whole = run()
    monkeypatch.setattr(products, "_CACHED", 2 * 9)
    for found, expected in zip(run(), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("soft_cap", "scale", "temperature"), TERMS)
@pytest.mark.parametrize("way", ["no gradient", "frozen head", "trained head", "module"])
def test_collisions(soft_cap, scale, temperature, way):
    """log sum_v p_v^2 of every way to the log-probabilities, whose gradient stays as it is."""
    hidden, weight, bias, ids = _case()
    hidden.requires_grad_(way != "no gradient")
    weight.requires_grad_(way == "trained head")
    if way == "module":
        terms = LogitTerms(scale, soft_cap, temperature)
        head = torch.nn.Linear(5, 11, dtype=torch.float32)
        head.weight.data, head.bias.data = weight.float(), bias.float()
        hidden = hidden.detach().float().requires_grad_()
        weight, bias = weight.float(), bias.float()
        found = module_logprobs(hidden, head, ids, terms=terms, chunk=3, want_collision=True)
    else:
        found = linear_logprobs(
            hidden, weight, ids, bias=bias, soft_cap=soft_cap, logit_scale=scale,
            temperature=temperature, chunk=3, want_collision=True,
        )  # fmt: skip
    logps, collisions = found
    z = torch.nn.functional.linear(hidden, weight, bias) * scale
    z = z if soft_cap is None else torch.tanh(z / soft_cap) * soft_cap
    p = (z / temperature).softmax(-1)
    torch.testing.assert_close(collisions, p.square().sum(-1).log().detach())
    assert not collisions.requires_grad
    if way != "no gradient":
        expected = p.log().gather(1, ids[:, None]).sum()
        torch.testing.assert_close(
            torch.autograd.grad(logps.sum(), hidden), torch.autograd.grad(expected, hidden)
        )
