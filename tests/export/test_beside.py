"""The original beside the model in work."""

import pytest
import torch
from tiny_models import make_model

from swiftrl.export.beside import Beside
from swiftrl.export.capture import Calls, run_block
from swiftrl.export.stages import gather

CPU = torch.device("cpu")
LAYERS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")


def calls_of(model, hidden):
    positions = model.get_decoder().rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
    arguments = ((), {"position_embeddings": positions, "attention_mask": None})
    return Calls(hidden, [arguments] * 2, None, [None, None])


@torch.no_grad()
def read_by(block, states, call, index, name):
    """Return what a layer reads and what its block returns."""
    seen, made = [], []
    gather(
        block,
        {name: seen.append},
        (),
        lambda: made.append(run_block(block, index, call, states, CPU)),
    )
    return seen[0], made[0]


@torch.no_grad()
@pytest.mark.parametrize("room", [0, 2**30])
def test_layers_are_given_what_the_original_reads(room):
    """Whatever becomes of the block meanwhile; both where inputs are kept and where not."""
    torch.manual_seed(0)
    model, untouched = make_model("Qwen3"), make_model("Qwen3")
    hidden = [torch.randn(1, tokens, 32) for tokens in (5, 7)]
    calls = [calls_of(model, states) for states in hidden]
    beside = Beside(hidden, CPU, room)
    for index, block in enumerate(model.model.layers):
        beside.take(block, index, calls, CPU)
        torch.nn.utils.vector_to_parameters(
            torch.randn(sum(p.numel() for p in block.parameters())), block.parameters()
        )
        same = untouched.model.layers[index]
        for number, call in enumerate(calls):
            for name in LAYERS:
                seen = []
                take = {name: lambda given, original, to=seen: to.append(original)}
                beside.takers(number, take, ())[name](torch.zeros(1))
                wanted, _ = read_by(same, hidden[number], call, index, name)
                assert torch.equal(seen[0], wanted)
        hidden = [read_by(same, h, c, index, name)[1] for h, c in zip(hidden, calls, strict=True)]
        beside.advance()
