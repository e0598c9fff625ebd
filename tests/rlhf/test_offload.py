"""Activations on the host: the same numbers, bit for bit, and less memory of the device."""

import device
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tree_models import build, mixed_batch

from swiftrl.rlhf.offload import _storage, activations_on_host, worth_moving
from swiftrl.rlhf.policy import Policy

on_accelerator = pytest.mark.skipif(
    device.name() == "cpu", reason="the processor's memory is the host's"
)


def run(offload, *, checkpointing, dtype, monkeypatch):
    monkeypatch.setattr("swiftrl.rlhf.offload._FEWEST_BYTES", 0)
    torch.manual_seed(0)
    model = get_peft_model(build("qwen3"), LoraConfig(r=4, target_modules="all-linear"))
    policy = Policy(
        device.put(model),
        offload=offload,
        gradient_checkpointing=checkpointing,
        compute_dtype=dtype,
        layout="tree",
        probe=False,
    )
    model.train()
    logps = policy.logprobs(device.put(mixed_batch())).logps
    (logps * torch.linspace(-1, 1, len(logps), device=logps.device)).sum().backward()
    gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
    return [logps.detach().cpu(), *gradients]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_values_and_gradients_are_the_same_bits(checkpointing, dtype, monkeypatch):
    kept, moved = (
        run(offload, checkpointing=checkpointing, dtype=dtype, monkeypatch=monkeypatch)
        for offload in (False, True)
    )
    assert len(kept) == len(moved) > 20
    assert all(torch.equal(a, b) for a, b in zip(kept, moved, strict=True))


def test_weights_and_small_tensors_stay():
    layer = torch.nn.Linear(64, 64)
    weights = frozenset(_storage(p) for p in layer.parameters())
    x = torch.ones(64, 64)
    assert worth_moving(x, weights, 2**14)
    assert worth_moving(x.t(), weights, 2**14)
    assert not worth_moving(x, weights, 2**14 + 1)
    assert not worth_moving(layer.weight, weights, 0)
    assert not worth_moving(layer.weight.t(), weights, 0)
    assert not worth_moving(layer.weight.detach(), weights, 0)
    assert not worth_moving(torch.nn.Parameter(x).t(), weights, 0)


@on_accelerator
@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_of_the_device_is_free_meanwhile(checkpointing):
    """A chain of layers keeps an input each; with the context, none of them stays."""
    module, size = torch.get_device_module(device.name()), 2**20
    layers = device.put(torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(8))))
    left = {}
    for offload in (False, True):
        x = torch.randn(size // 512, 512, device=device.name(), requires_grad=True)
        before = module.memory_allocated()
        context = activations_on_host(layers) if offload else torch.enable_grad()
        with context:
            y = x
            for layer in layers:
                if checkpointing:
                    y = torch.utils.checkpoint.checkpoint(
                        lambda y, layer=layer: layer(layer(y)), y, use_reentrant=False
                    )
                else:
                    y = layer(y).tanh()
        module.synchronize()
        left[offload] = module.memory_allocated() - before
        y.sum().backward()
    # 4 MiB each: the output stays, and nothing else.
    assert left[True] < 2.1 * 4 * size < 6 * 4 * size < left[False]


def test_nothing_moves_on_a_processor():
    x = torch.ones(4, 4, requires_grad=True)
    with activations_on_host(torch.nn.Linear(1, 1), fewest_bytes=0):
        y = x.exp()
    assert y.grad_fn._saved_result.data_ptr() == y.data_ptr()
