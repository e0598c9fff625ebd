import device
import torch
from problems import correlated, error_of, hessian_of

from swiftrl.quant.gptq import gptq
from swiftrl.quant.hessian import Hessian, shrink, with_drift
from swiftrl.quant.scheme import Scheme


def test_batches_add_up_to_all_rows_at_once():
    _, rows = correlated(1, 12)
    kept = device.put(torch.rand(6, 16) > 0.3)
    batches = rows.view(6, 16, 12).clone()
    batches[~kept] = torch.nan
    sums = Hessian.empty(12, rows.device)
    for batch, mask in zip(batches.split(2), kept.split(2), strict=True):
        sums.add(batch, mask)
    expected = hessian_of(rows.view(6, 16, 12)[kept])
    assert torch.allclose(sums.mean(), expected, rtol=1e-4, atol=1e-6)
    assert int(sums.tokens) == int(kept.sum())


def test_no_tokens_give_zero():
    assert not bool(Hessian.empty(4, "cpu").mean().any())


def test_an_expert_of_few_tokens_does_better_on_new_ones_with_the_others_help():
    """Its inputs are like those of all experts, in sizes of its own."""
    weight, rows = correlated(32, 64, seed=3)
    draw = torch.Generator().manual_seed(0)
    sizes = device.put(torch.exp(0.3 * torch.randn(64, generator=draw)))
    scheme = Scheme(4, 32)
    lost = {}
    for tokens in (8, 400):
        own, pooled = Hessian.empty(64, rows.device), Hessian.empty(64, rows.device)
        own.add(rows[:tokens] * sizes)
        pooled.add(rows[:400])
        held_out = hessian_of(rows[400:] * sizes)
        for name, hessian in (("own", own.mean()), ("shrunk", shrink(own, pooled))):
            lost[name, tokens] = error_of(weight, gptq(weight, hessian, scheme).weight, held_out)
    assert lost["shrunk", 8] < 0.8 * lost["own", 8]
    assert lost["shrunk", 400] < 1.05 * lost["own", 400]


def test_a_weight_makes_up_for_the_drift_of_its_inputs():
    """Against least squares on the rows themselves, and on new rows."""
    weight, rows = correlated(16, 32)
    mixing = torch.eye(32) + 0.1 * torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    drifted = rows @ mixing.to(rows)
    seen = Hessian.empty(32, rows.device)
    seen.add(drifted[:128], original=rows[:128])
    moved = with_drift(weight, seen, damping=1e-6)
    best = torch.linalg.lstsq(drifted[:128].cpu(), (rows[:128] @ weight.t()).cpu()).solution.t()
    assert torch.allclose(moved.cpu(), best, atol=1e-3)
    wanted = rows[128:] @ weight.t()
    as_it_was = (drifted[128:] @ weight.t() - wanted).square().mean()
    damped = with_drift(weight, seen)
    assert (drifted[128:] @ damped.t() - wanted).square().mean() < 0.5 * as_it_was


def test_without_drift_a_weight_stays():
    weight, rows = correlated(4, 8)
    seen = Hessian.empty(8, rows.device)
    seen.add(rows)
    assert torch.equal(with_drift(weight, seen), weight)
    seen = Hessian.empty(8, rows.device)
    seen.add(rows, original=rows)
    assert torch.equal(with_drift(weight, seen), weight)
