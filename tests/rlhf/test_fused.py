"""Fused operations: the values and gradients of the chains they stand for."""

from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tree_models import build, mixed_batch

from swiftrl.backends import products
from swiftrl.backends.products import product_dtype
from swiftrl.rlhf import fused, fused_ops, tree_attention, widen
from swiftrl.rlhf.fused_mlp import Lora, lora_mlp
from swiftrl.rlhf.last_layer import shorten_last_layer
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.scoring import Scorer


def randn(*shape, dtype=torch.float64, seed=0, grad=True):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_(grad)


@pytest.mark.parametrize("with_bias", [False, True])
def test_lora_linear(with_bias):
    x, a, b = randn(2, 3, 5), randn(2, 5, seed=1), randn(4, 2, seed=2)
    weight = randn(4, 5, seed=3, grad=False)
    bias = randn(4, seed=4, grad=False) if with_bias else None
    run = partial(fused_ops.lora_linear, scaling=0.7)
    found = run(x, weight, bias, a, b)
    expected = torch.nn.functional.linear(x, weight, bias) + 0.7 * (x @ a.t() @ b.t())
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda x, a, b: run(x, weight, bias, a, b), (x, a, b))


def test_lora_linear_drops_inputs_of_the_update_alone():
    x, a, b = randn(64, 8), randn(2, 8, seed=1), randn(4, 2, seed=2)
    weight = randn(4, 8, seed=3, grad=False)
    torch.manual_seed(0)
    found = fused_ops.lora_linear(x, weight, None, a, b, scaling=1.0, dropout=0.5)
    torch.manual_seed(0)
    mask = torch.empty(64, 8, dtype=x.dtype).bernoulli_(0.5) / 0.5
    expected = x @ weight.t() + (x * mask) @ a.t() @ b.t()
    torch.testing.assert_close(found, expected)
    gradient = randn(64, 4, seed=5, grad=False)
    torch.testing.assert_close(
        torch.autograd.grad(found, (x, a, b), gradient),
        torch.autograd.grad(expected, (x, a, b), gradient),
    )


def test_lora_linear_in_bfloat16_with_wide_products():
    x = randn(32, 16, dtype=torch.float32, grad=False).bfloat16().requires_grad_()
    a, b = randn(4, 16, dtype=torch.float32, seed=1), randn(8, 4, dtype=torch.float32, seed=2)
    weight = randn(8, 16, dtype=torch.float32, seed=3, grad=False).bfloat16()
    found = fused_ops.lora_linear(x, weight, None, a, b, scaling=0.5, products=torch.float32)
    wide = x.float()
    expected = wide @ weight.float().t() + 0.5 * (wide @ a.t() @ b.t())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16(), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(
        torch.autograd.grad(found.float().sum(), (x, a, b)),
        torch.autograd.grad(expected.sum(), (x, a, b)),
        rtol=2e-2,
        atol=2e-2,
    )


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rms_norm(offset):
    x, weight = randn(2, 3, 5), randn(5, seed=1)
    run = partial(fused_ops.rms_norm, eps=1e-5, offset=offset)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * (weight + offset)
    torch.testing.assert_close(run(x, weight), expected)
    assert torch.autograd.gradcheck(run, (x, weight))


@pytest.mark.parametrize("activation", [0, 1])
def test_gated(activation):
    gate, up = randn(3, 5), randn(3, 5, seed=1)
    f = torch.nn.functional.silu
    if activation:
        f = partial(torch.nn.functional.gelu, approximate="tanh")
    torch.testing.assert_close(fused_ops.gated(gate, up, activation), f(gate) * up)
    assert torch.autograd.gradcheck(partial(fused_ops.gated, activation=activation), (gate, up))


@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("with_bias", [False, True])
def test_lora_mlp(activation, with_bias):
    x = randn(2, 3, 4)
    sizes = ((6, 4), (6, 4), (4, 6))
    trained, frozen, biases = [], [], []
    for seed, (outputs, inputs) in enumerate(sizes):
        trained += [randn(2, inputs, seed=seed), randn(outputs, 2, seed=10 + seed)]
        frozen.append(randn(outputs, inputs, seed=20 + seed, grad=False))
        biases.append(randn(outputs, seed=30 + seed, grad=False) if with_bias else None)

    def layers(*trained):
        pairs = zip(trained[::2], trained[1::2], strict=True)
        return [Lora(frozen[i], biases[i], a, b, 0.5 + i) for i, (a, b) in enumerate(pairs)]

    def run(x, *trained):
        return lora_mlp(x, *layers(*trained), activation=activation, products=torch.float64)

    def plain(x, layer):
        update = x @ layer.a.t() @ layer.b.t()
        return torch.nn.functional.linear(x, layer.weight, layer.bias) + layer.scaling * update

    gate, up, down = layers(*trained)
    inner = fused_ops.ACTIVATIONS[activation].value(plain(x, gate)) * plain(x, up)
    torch.testing.assert_close(run(x, *trained), plain(inner, down))
    assert torch.autograd.gradcheck(run, (x, *trained))


@pytest.mark.parametrize("activation", [0, 1])
def test_lora_mlp_by_slices_is_the_whole(monkeypatch, activation):
    x, upstream = randn(2, 7, 4), randn(2, 7, 4, seed=9, grad=False)
    sizes = ((6, 4), (6, 4), (4, 6))
    layers = [
        Lora(randn(*size, seed=i, grad=False), None, randn(2, size[1], seed=10 + i),
             randn(size[0], 2, seed=20 + i), 0.5)
        for i, size in enumerate(sizes)
    ]  # fmt: skip
    trained = [p for layer in layers for p in (layer.a, layer.b)]

    def run():
        y = lora_mlp(x, *layers, activation=activation, products=torch.float64)
        return y, *torch.autograd.grad(y, (x, *trained), upstream)

    whole = run()
    monkeypatch.setattr(products, "_FEWEST", 4)
    monkeypatch.setattr(products, "_SLICED", 1)
    assert [rows.stop for rows in products.row_slices(x.device, 14, 6)] == [4, 8, 12, 14]
    # The sums over slices are float32.
    for found, expected in zip(run(), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen2", "gemma2"])
def test_mlps_without_gradient_by_slices(monkeypatch, name):
    batch = mixed_batch()
    model = get_peft_model(build(name), LoraConfig(r=2, target_modules="all-linear"))
    tree_attention.register()
    expected = Scorer(model, layout="tree")(batch).logps.detach()
    monkeypatch.setattr(products, "_FEWEST", 4)
    monkeypatch.setattr(products, "_SLICED", 1)
    fused.fuse(model, torch.float32)
    with torch.no_grad():
        found = Scorer(model, layout="tree")(batch).logps
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_backward_may_run_twice():
    gate, up = randn(3, 5), randn(3, 5, seed=1)
    total = fused_ops.gated(gate, up).sum()
    first = torch.autograd.grad(total, (gate, up), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(total, (gate, up)), first)


COUNTS = {"qwen2": 14 + 5 + 2, "qwen3": 14 + 9 + 2, "gemma2": 21 + 13 + 3, "gpt2": 0}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_families_are_recognised_by_what_they_hold(name, count):
    model = get_peft_model(build(name), LoraConfig(r=2, target_modules="all-linear"))
    before = dict(model.named_modules())
    assert fused.fuse(model, torch.float32) == count
    assert dict(model.named_modules()) == before
    assert fused.fuse(model, torch.float32) == 0
    fused.unfuse(model)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_modules_of_another_meaning_are_left_alone():
    class OddRMSNorm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))
            self.eps = 1e-6

        def forward(self, x):
            return x * self.weight + 1

    assert fused.fuse(OddRMSNorm(), torch.float32) == 0


def narrow_lora(name, **changes):
    model = build(name).bfloat16()
    # PEFT knows neither DoRA nor dropout for the experts' stacked weights.
    targets = ["q_proj", "v_proj"] if "moe" in name and changes else "all-linear"
    return get_peft_model(model, LoraConfig(r=4, target_modules=targets, **changes))


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "gemma2", "llama"])
def test_wide_computation_is_nearer_to_float32(name):
    batch = mixed_batch()
    # The weights are those of bfloat16, so that only the computation differs.
    exact_model = build(name).bfloat16().float()
    exact = Policy(exact_model, fused=False).logprobs(batch).logps
    errors = {}
    for wide in (True, False):
        model = narrow_lora(name)
        fused.fuse(model, torch.float32 if wide else torch.bfloat16)
        if wide:
            assert widen.widen(model.get_base_model())
        dtype = torch.float32 if wide else torch.bfloat16
        logps = Scorer(model, layout="tree", compute_dtype=dtype)(batch).logps
        errors[wide] = float((logps - exact).detach().abs().max())
        assert all(p.dtype == torch.bfloat16 for p in model.parameters() if not p.requires_grad)
    assert errors[True] < 1e-4 < errors[False]


def test_a_kind_of_module_that_is_unknown_stays_narrow():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
            self.table = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))

    module = Odd()
    assert not widen.widen(module)
    assert "forward" not in module.linear.__dict__


@pytest.mark.parametrize("changes", [{}, {"use_dora": True}, {"lora_dropout": 0.1}])
@pytest.mark.parametrize("name", ["qwen2", "gpt2", "qwen3_moe", "cohere2"])
def test_bfloat16_trains_whatever_the_adapters_and_architecture(name, changes):
    batch = mixed_batch()
    policy = Policy(narrow_lora(name, **changes), compute_dtype=torch.bfloat16)
    policy.refer_to_itself()
    policy.model.train()
    exact = Policy(build(name)).logprobs(batch).logps
    assert (policy.reference(batch) - exact).abs().mean() < 0.1
    policy.logprobs(batch).logps.sum().backward()
    gradients = [p.grad for p in policy.model.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama", "mixtral", "gemma2", "gpt2"])
def test_the_short_last_layer_changes_nothing(name):
    batch = mixed_batch()
    plain, short = build(name), build(name)
    expected = Scorer(plain, layout="tree")(batch).logps
    scorer = Scorer(short, layout="tree")
    usual = name not in ("gemma2", "gpt2")
    assert scorer.shorten(mixed_batch(seed=1)) == usual
    found = scorer(batch).logps
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    largest = max(p.grad.abs().max() for p in plain.parameters() if p.grad is not None)
    for a, b in zip(short.parameters(), plain.parameters(), strict=True):
        if b.grad is not None:
            assert (a.grad - b.grad).abs().max() <= 2e-5 * largest


def test_a_last_layer_of_another_meaning_stays_whole():
    model = build("llama")
    last = model.model.layers[-1]

    class Odd(type(last)):
        def forward(self, hidden_states, **kwargs):
            return super().forward(hidden_states, **kwargs).roll(1, -1)

    last.__class__ = Odd
    scorer = Scorer(model, layout="tree")
    assert not scorer.shorten(mixed_batch())
    assert "forward" not in last.__dict__
    assert not shorten_last_layer(torch.nn.Linear(1, 1))


def test_product_type_of_accelerators_is_the_computation_s():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert product_dtype(torch.device("meta"), dtype) == dtype
    assert product_dtype(torch.device("cpu"), torch.float32) == torch.float32


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True}, torch.float32),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, torch.float32),
    ],
)
def test_product_type_of_processors(monkeypatch, able, expected):
    able["architecture"] = "x86_64"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert product_dtype(torch.device("cpu"), torch.bfloat16) == expected
    able["architecture"] = "aarch64"
    assert product_dtype(torch.device("cpu"), torch.bfloat16) == torch.bfloat16


def test_a_torch_that_cannot_say_what_the_processor_has_keeps_the_type(monkeypatch):
    """torch.cpu.get_capabilities came with 2.11."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert product_dtype(torch.device("cpu"), torch.bfloat16) == torch.bfloat16
