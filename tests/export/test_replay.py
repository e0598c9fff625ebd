"""What is played back is what would have been computed, and nothing of it is computed again."""

from functools import partial

import pytest
import torch
from test_folding import prepared
from torch import nn

from swiftrl.export.replay import Replay, blanked, shape_of
from swiftrl.export.stages import Stage, behind, gather

WHOLE = {"self_attn", "mlp"}
KINDS = [
    ("Llama", WHOLE),
    ("Qwen2", WHOLE),
    ("Gemma2", {"mlp"}),  # its attention returns weights too
    ("Cohere", WHOLE),
    ("Starcoder2", WHOLE),
    ("Mixtral", {"self_attn"}),
    ("Qwen2Moe", {"self_attn", "mlp.shared_expert"}),
]


def count(module: nn.Module, counts: list[int]) -> None:
    module.register_forward_hook(lambda *_: counts.append(1))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "wholes"), KINDS)
def test_a_block_returns_what_it_did_without_its_done_parts(kind, wholes):
    """Stage by stage, each layer changed as if it were quantised."""
    block, stages, run = prepared(kind)
    shape = shape_of(block, stages, run)
    assert {tail.whole for tail in shape.tails.values()} == wholes
    replay = Replay(block, shape, 2)
    for number, stage in enumerate(stages):
        keeper = replay.keeper(number)
        if keeper:
            for place in range(2):
                with replay.playing(place):
                    gather(block, keeper, behind(stages, number), run, calls=1)
        for name in stage.names:
            weight = block.get_parameter(f"{name}.weight")
            weight.copy_((weight * 8).round() / 8)
        replay.settle(number)
    expected = run()
    counts: list[int] = []
    for whole in wholes:
        for _, module in block.get_submodule(whole).named_modules():
            count(module, counts)
    with replay.playing(1):
        assert torch.equal(run(), expected)
    assert not counts
    assert torch.equal(run(), expected)
    assert counts


@torch.no_grad()
def test_nothing_is_kept_without_room():
    block, stages, run = prepared("Llama")
    replay = Replay(block, shape_of(block, stages, run), 1, room=100)
    number = next(n for n, stage in enumerate(stages) if "self_attn.o_proj" in stage.names)
    gather(block, replay.keeper(number), (), run)
    replay.settle(number)
    counts: list[int] = []
    count(block.self_attn, counts)
    with replay.playing(0):
        run()
    assert counts


class Written(nn.Module):
    """Writes into what its layer returned, or into what it returns itself."""

    def __init__(self, *, inside: bool) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Linear(4, 4))
        self.inside = inside
        if inside:
            self.part.register_forward_hook(lambda module, args, output: output.mul_(2))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        made = self.part(hidden)
        return made if self.inside else made.add_(hidden)


@torch.no_grad()
@pytest.mark.parametrize("inside", [True, False])
def test_a_tensor_that_is_written_into_is_not_played_back(inside):
    block = Written(inside=inside)
    stages = [Stage(("part.0",), (("part.0",),))]
    assert not shape_of(block, stages, partial(block, torch.randn(3, 4))).tails


@torch.no_grad()
def test_experts_are_given_the_same_inputs_without_computing():
    block, stages, run = prepared("Mixtral")
    number = next(n for n, stage in enumerate(stages) if stage.repeats)
    first = [names[0] for names in stages[number].sets]

    def inputs(*blank: str) -> dict[str, list[torch.Tensor]]:
        found = {name: [] for name in first}
        with blanked(block, blank):
            gather(block, {name: kept.append for name, kept in found.items()}, (), run)
        return found

    plain = inputs()
    unread = [name for stage in stages[number:] for name in stage.names]
    counts: list[int] = []
    for name in unread:
        count(block.get_submodule(name), counts)
    blank = inputs(*unread)
    assert not counts
    assert {name: len(kept) for name, kept in plain.items()} == {
        name: len(kept) for name, kept in blank.items()
    }
    assert all(torch.equal(plain[name][0], blank[name][0]) for name in first if plain[name])
