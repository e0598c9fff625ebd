"""Fused kernels of the hardware: the values and gradients of plain PyTorch, family by family.

On a CPU the kernels are plain functions that take the hardware's place, so that what finds them
their modules is tested; with `--device npu` they are torch_npu's.
"""

import copy
from dataclasses import replace

import device
import pytest
import torch
from peft import LoraConfig, get_peft_model
from plain_kernels import PLAIN, noting
from test_picture_families import mixed, qwen2_vl
from tree_models import build, forest, mixed_batch

from swiftrl.backends.kernel_check import checked
from swiftrl.backends.kernels import NONE
from swiftrl.data.batch import TreeShape, pack
from swiftrl.models.attention import Terms
from swiftrl.rlhf import fused
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.tree_attention import Segments, sdpa_kernel
from swiftrl.rlhf.tree_kernels import choose_tree_kernel
from swiftrl.rlhf.varlen_attention import VarlenKernel, gathering


@pytest.fixture
def hardware():
    """A device, its kernels, and how often they ran."""
    kernels = PLAIN if device.name() == "cpu" else device.backend().kernels()
    return torch.device(device.name()), *noting(kernels)


def ours(name, **changes):
    """A tiny model as `load_model` leaves it: experts one by one where torch has no product."""
    model = build(name, **changes)
    if not device.backend().capabilities.grouped_mm:
        model.set_experts_implementation("eager")
    return model


def outcome(policy, batch):
    """Log-probabilities and gradients, on the CPU."""
    model = policy.model
    logps = policy.logprobs(batch.to(next(model.parameters()).device)).logps
    factor = torch.linspace(-1, 1, len(logps), device=logps.device)
    model.zero_grad()
    (logps * factor).sum().backward()
    gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
    return logps.detach().cpu(), gradients


def plain(model, batch):
    return outcome(Policy(model, fused=False, kernel=sdpa_kernel), batch)


def with_kernels(model, kernels, **settings):
    kernel = VarlenKernel(kernels.attention)
    return Policy(model, kernels=kernels, kernel=kernel, **settings)


def same(found, expected, tolerance):
    """Largest error of the values, and of the gradients over the largest gradient."""
    assert found[1].keys() == expected[1].keys()
    value = (found[0] - expected[0]).abs().max()
    largest = max(g.abs().max() for g in expected[1].values())
    gradient = max((found[1][k].float() - g).abs().max() / largest for k, g in expected[1].items())
    assert value <= tolerance, value
    assert gradient <= tolerance, gradient


ALL = {"attention", "rms_norm", "rotary", "swiglu"}
MIXTURE = {"attention", "rms_norm", "rotary", "experts", "gate"}
USED = {
    "qwen2": ALL,
    "qwen3": ALL,
    "llama": ALL,
    "mistral": ALL,  # a window
    "granite": ALL,
    "mixtral": MIXTURE,
    "qwen3_moe": MIXTURE,
    "gemma2": {"rms_norm", "rotary"},  # soft caps, and GELU
    "gemma3_text": {"attention", "rms_norm", "rotary"},
    "gpt_oss": {"attention", "rms_norm", "experts"},  # sinks; a gate and a rotation of its own
    "deepseek_v3": {"attention", "rms_norm", "swiglu", "experts", "gate"},
    "cohere2": {"attention", "swiglu"},  # turns pairs that lie side by side
    "phi3": {"attention", "rms_norm", "gate"},  # one layer for gate and up
}


@pytest.mark.parametrize("name", USED)
def test_families_train_alike_with_kernels(name, hardware):
    on, kernels, calls = hardware
    batch, model = mixed_batch(), ours(name)
    expected = plain(copy.deepcopy(model), batch)
    policy = with_kernels(model.to(on), kernels)
    assert policy.layout.layout == "tree"
    calls.clear()
    same(outcome(policy, batch), expected, 5e-5)
    assert set(calls) == USED[name]
    layers = model.config.num_hidden_layers
    if "attention" in USED[name]:
        assert calls["attention"] == layers
    if "rotary" in USED[name]:
        assert calls["rotary"] == layers


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama", "mixtral", "qwen3_moe", "gemma3_text"])
def test_lora_in_bfloat16_with_kernels(name, hardware):
    on, kernels, calls = hardware
    batch = mixed_batch()
    targets = ["q_proj", "v_proj"] if name in ("mixtral", "qwen3_moe") else "all-linear"

    def narrow():
        model = get_peft_model(ours(name).bfloat16(), LoraConfig(r=4, target_modules=targets))
        for n, p in model.named_parameters():
            if "lora_B" in n:
                drawn = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
                p.data.copy_(drawn * 0.05)
        return model

    exact = plain(narrow().float(), batch)
    bfloat16 = {"compute_dtype": torch.bfloat16, "layout": "tree", "probe": False}
    rounded = outcome(Policy(narrow(), fused=False, kernel=sdpa_kernel, **bfloat16), batch)
    found = outcome(with_kernels(narrow().to(on), kernels, **bfloat16), batch)
    assert {"attention", "rms_norm", "rotary"} <= set(calls)
    # As far from the exact values as plain bfloat16 is: plain runs differ by twice that from
    # device to device, where an expert is chosen by a hair.
    for place in (0, 1):
        errors = []
        for run in (found, rounded):
            tensors = [run[0]] if place == 0 else list(run[1].values())
            wanted = [exact[0]] if place == 0 else list(exact[1].values())
            scale = max(float(w.abs().max()) for w in wanted)
            squares = [
                (t.float() - w).square().mean() for t, w in zip(tensors, wanted, strict=True)
            ]
            errors.append(float(torch.stack(squares).mean().sqrt()) / scale)
        assert errors[0] <= 3 * errors[1] + 1e-3


def test_pictures_of_qwen2_vl_with_kernels(hardware):
    on, kernels, calls = hardware
    torch.manual_seed(0)
    model, tokens, picture = qwen2_vl()
    model = model.float().eval()
    batch = mixed(tokens, picture)
    expected = plain(copy.deepcopy(model), batch)
    policy = with_kernels(model.to(on), kernels, pictures=batch.to(on))
    calls.clear()
    same(outcome(policy, batch), expected, 5e-5)
    assert set(calls) == ALL


def test_gradient_checkpointing_runs_kernels_twice(hardware):
    on, kernels, calls = hardware
    batch, model = mixed_batch(), build("qwen3")
    expected = plain(copy.deepcopy(model), batch)
    policy = with_kernels(model.to(on), kernels, gradient_checkpointing=True)
    model.train()
    calls.clear()
    same(outcome(policy, batch), expected, 5e-5)
    assert calls["attention"] > model.config.num_hidden_layers


def test_generation_has_the_modules_own_forward(hardware):
    on, kernels, calls = hardware
    model = build("qwen3")
    ids = torch.arange(1, 6)[None]
    expected = model.generate(ids, max_new_tokens=4, do_sample=False)
    policy = with_kernels(model.to(on), kernels)
    calls.clear()
    with policy.generating():
        found = model.generate(ids.to(on), max_new_tokens=4, do_sample=False)
    assert torch.equal(found.cpu(), expected)
    assert calls["rotary"] == calls["attention"] == 0
    fused.unfuse(model)
    assert all("forward" not in layer.self_attn.__dict__ for layer in model.model.layers)


def test_kernels_are_checked_in_every_type(hardware):
    on, kernels, _ = hardware
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        usable, refused = checked(kernels, on, dtype)
        assert refused == []
        assert usable.names() == ["attention", "rms_norm", "rotary", "swiglu", "experts"]


def test_kernels_that_are_wrong_or_missing_are_refused():
    def broken(*_):
        raise RuntimeError("no such operator\nmore")

    odd = replace(
        PLAIN,
        rms_norm=lambda x, gain, eps: PLAIN.rms_norm(x, gain, eps + 0.1),
        swiglu=lambda gate, up: PLAIN.swiglu(gate, up.detach()) + up * 0,
        rotary=broken,
    )
    usable, refused = checked(odd, torch.device("cpu"), torch.float32)
    assert usable.names() == ["attention", "experts"]
    assert [r.kernel for r in refused] == ["rms_norm", "rotary", "swiglu"]
    assert "differs" in refused[0].reason and "differs" in refused[2].reason
    assert refused[1].reason == "failed (no such operator)"


def test_a_kernel_that_does_not_suit_a_module_is_left_out():
    """Half the families of a model could be of another make: the module's own forward stays."""
    model = build("qwen2")
    turned_round = replace(PLAIN, rotary=lambda q, k, c, s: PLAIN.rotary(q, k, c, -s))
    for kernels in (turned_round, NONE):
        fused.fuse(model, torch.float32, kernels)
        layers = model.model.layers
        assert all("forward" not in layer.self_attn.__dict__ for layer in layers)
        fused.unfuse(model)
    fused.fuse(model, torch.float32, PLAIN)
    assert all("forward" in layer.self_attn.__dict__ for layer in model.model.layers)
    assert model.config._attn_implementation == "sdpa"


def test_sequences_of_a_row():
    shapes = (TreeShape(0, 4, (2, 0, 3)), TreeShape(9, 3, (2,)), TreeShape(14, 0, (1, 2)))
    plan = gathering(shapes)
    assert plan.lengths == (4, 2, 3, 5, 1, 2)
    assert plan.keys == (0, 0, 1, 0, 2, 3, 4, 5)
    assert plan.sequences.query_ends == (4, 6, 9, 14, 15, 17)
    assert plan.sequences.key_ends == (4, 10, 17, 22, 23, 25)
    assert plan.sequences.longest == (5, 7)
    starts = plan.sequences.starts(torch.device("cpu"))
    assert starts[0].tolist() == [0, 4, 6, 9, 14, 15, 17]
    assert starts[0].dtype == torch.int32
    assert plan.sequences.starts(torch.device("cpu"))[0] is starts[0]


def test_a_row_without_shared_trunks_gathers_nothing():
    plan = gathering((TreeShape(0, 4, ()), TreeShape(4, 3, (2,)), TreeShape(9, 0, (1, 2))))
    assert plan.keys is None
    assert plan.sequences.query_ends == plan.sequences.key_ends == (4, 9, 10, 12)


def states(heads=4, key_heads=2, width=8, value_width=8):
    batch = pack(forest(((5, 4, 3), (6, 2), (0, 3, 3))))
    tokens, generator = len(batch.token_ids), torch.Generator().manual_seed(0)
    made = [
        torch.randn(1, count, tokens, size, generator=generator, requires_grad=True)
        for count, size in ((heads, width), (key_heads, width), (key_heads, value_width))
    ]
    return batch, made


@pytest.mark.parametrize(
    "terms",
    [
        Terms(0.3),
        Terms(0.3, window=3),
        Terms(0.3, sinks=torch.randn(4, generator=torch.Generator().manual_seed(1))),
        Terms(0.3, soft_cap=2.0),
    ],
    ids=["plain", "window", "sinks", "soft cap"],
)
@pytest.mark.parametrize("value_width", [8, 6])
def test_sequences_attend_as_trees(hardware, terms, value_width):
    on, kernels, calls = hardware
    batch, own = states(value_width=value_width)
    segments = Segments(batch.shapes, sdpa_kernel)
    results = []
    for kernel, where in ((sdpa_kernel, "cpu"), (VarlenKernel(kernels.attention), on)):
        sinks = None if terms.sinks is None else terms.sinks.to(where)
        inputs = [x.detach().to(where).requires_grad_() for x in own]
        output = kernel(*inputs, segments, replace(terms, sinks=sinks))
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
    assert calls["attention"] == (terms.soft_cap is None)


def test_lists_of_lengths_are_made_once_a_batch(hardware):
    on, kernels, _ = hardware
    batch, own = states()
    segments, kernel = Segments(batch.shapes, sdpa_kernel), VarlenKernel(kernels.attention)
    made = []
    for _ in range(3):
        kernel(*(x.to(on) for x in own), segments, Terms(0.3))
        made.append(segments.once("sequences", lambda: None))
    assert made[0] is not None
    assert made[0] is made[1] is made[2]


def test_the_tree_kernel_is_tried_out(hardware, capsys):
    on, kernels, calls = hardware
    config, dtype = build("qwen3").config, torch.float32
    chosen = choose_tree_kernel(kernels, ("sdpa",), config, on, dtype)
    assert isinstance(chosen, VarlenKernel)
    assert calls["attention"] == 1

    def run(query, *_, **__):
        return query * 2.0

    odd = replace(kernels, attention=replace(kernels.attention, run=run))
    chosen = choose_tree_kernel(odd, ("sdpa",), config, on, dtype)
    assert not isinstance(chosen, VarlenKernel)
    assert "is not used" in capsys.readouterr().err
