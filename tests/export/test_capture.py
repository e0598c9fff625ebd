"""Blocks are called as in the model itself, whether or not those before them compute."""

import pytest
import torch
from tiny_models import make_model
from torch import nn

from swiftrl.export import capture as capturing
from swiftrl.export.calibration import Pass
from swiftrl.export.capture import capture
from swiftrl.export.layers import find_blocks
from swiftrl.export.passing_on import passing_on, same_values


def rows(*lengths: int) -> list[Pass]:
    return [
        Pass(torch.arange(3, 3 + n), torch.ones(n, dtype=torch.bool), (n,), ()) for n in lengths
    ]


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "Cohere2", "Qwen3"])
def test_passes_without_computation_show_the_same_calls(kind, monkeypatch):
    model = make_model(kind)
    blocks = find_blocks(model, None).modules(model)
    counts: list[int] = []
    blocks[0].register_forward_hook(lambda *_: counts.append(1))
    given = rows(9, 5, 12)
    short = capture(model, blocks, given, keep=model.device, name="rows")
    assert len(counts) == 1
    assert find_blocks(model, None).modules(model) == blocks
    # As if blocks were called with what others compute.
    monkeypatch.setattr(capturing, "same_values", lambda *_: False)
    plain = capture(model, blocks, given, keep=model.device, name="rows")
    assert len(counts) == 4
    for one, other in zip(short, plain, strict=True):
        assert torch.equal(one.first, other.first)
        assert same_values([one.added, one.arguments], [other.added, other.arguments])


def test_a_block_that_passes_on_has_the_attributes_of_the_real_one():
    model = nn.Module()
    block = nn.Linear(2, 2)
    model.list = nn.ModuleList([block])
    hidden = torch.randn(1, 2)
    with passing_on(model, [block], [2]) as (other,):
        assert model.list[0] is other
        assert other.in_features == 2
        assert other(hidden, mask=None) == (hidden, None)
        with pytest.raises(AttributeError):
            _ = other.nothing_of_the_kind
    assert model.list[0] is block


def test_values_are_compared_inside_of_what_holds_them():
    one = {"a": [torch.ones(2), None], "b": (1, "x")}
    assert same_values(one, {"a": [torch.ones(2), None], "b": (1, "x")})
    assert not same_values(one, {"a": [torch.zeros(2), None], "b": (1, "x")})
    assert not same_values(one, {"a": [torch.ones(2), None], "b": (2, "x")})
    assert not same_values([torch.ones(2)], [None])
    assert not same_values([1, 2], [1])
