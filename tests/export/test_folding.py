"""Scales are folded where the block's output stays the same, and nowhere else."""

from functools import partial

import pytest
import torch
from tiny_models import make_model

from swiftrl.export.calibration import Pass
from swiftrl.export.capture import capture, run_block
from swiftrl.export.folding import scale_inputs
from swiftrl.export.layers import find_blocks
from swiftrl.export.stages import gather, trace
from swiftrl.models.split_experts import split_experts
from swiftrl.quant.hessian import Hessian
from swiftrl.quant.scheme import Scheme

EXPERTS = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
}  # fmt: skip


def prepared(kind: str, **sizes):
    """Return a model's first block, its stages, and a run of it."""
    model = make_model(kind, **EXPERTS.get(kind, {}), **sizes)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms that are 1, and biases that are 0, would hide mistakes
            parameter.data += 0.3 * torch.randn_like(parameter)
        assert parameter.isfinite().all(), name
    split_experts(model)
    blocks = find_blocks(model, None)
    tokens = torch.arange(3, 99)
    row = Pass(tokens, torch.ones(96, dtype=torch.bool), (96,), ())
    modules = blocks.modules(model)
    (calls,) = capture(model, modules, [row], keep=model.device, name="rows")
    run = partial(run_block, modules[0], 0, calls, calls.first, model.device)
    names = [name.removeprefix(f"{blocks.name}.0.") for name in blocks.chosen[0]]
    return modules[0], trace(modules[0], names, [run]), run


@pytest.mark.parametrize(
    ("kind", "makers"),
    [
        ("Llama", {"input_layernorm", "self_attn.v_proj", "post_attention_layernorm",
                   "mlp.up_proj"}),
        ("Qwen2", {"input_layernorm", "self_attn.v_proj", "post_attention_layernorm",
                   "mlp.up_proj"}),
        ("Gemma2", {"input_layernorm", "self_attn.v_proj", "pre_feedforward_layernorm",
                    "mlp.up_proj"}),
        ("Cohere", {"input_layernorm", "self_attn.v_proj", "mlp.up_proj"}),
        ("Starcoder2", {"input_layernorm", "self_attn.v_proj", "post_attention_layernorm"}),
        ("Mixtral", {"input_layernorm", "self_attn.v_proj", "post_attention_layernorm",
                     *(f"mlp.experts.{n}.w3" for n in range(4))}),
        ("Qwen2Moe", {"input_layernorm", "self_attn.v_proj", "post_attention_layernorm",
                      "mlp.shared_expert.up_proj",
                      *(f"mlp.experts.{n}.up_proj" for n in range(4))}),
    ],
)  # fmt: skip
def test_what_takes_the_scales_is_found_and_the_block_computes_the_same(kind, makers):
    """Makers were read off each family's source; StarCoder's GELU lets no scale through."""
    block, stages, run = prepared(kind)
    before = run()
    found = {}
    for names in (names for stage in stages for names in stage.sets):
        layer = block.get_submodule(names[0])
        found[names] = Hessian.empty(layer.in_features, layer.weight.device)
    gather(block, {names[0]: item.add for names, item in found.items()}, (), run)
    weights = {name: value.clone() for name, value in block.state_dict().items()}
    sums = {names: item.sum_II.clone() for names, item in found.items()}
    folds = {}
    changed = scale_inputs(block, stages, found, [run], Scheme(4, 16, False), folds)
    (used,) = folds.values()
    assert {fold.maker for fold in used} == makers
    assert (run() - before).norm() < 1e-4 * before.norm()
    moved = {n for n, value in block.state_dict().items() if not torch.equal(value, weights[n])}
    layers = {f"{name}.weight" for stage in stages for name in stage.names}
    assert moved - layers <= set(changed)
    # The Hessians are those of the scaled inputs now.
    for names, item in found.items():
        again = Hessian.empty(len(item.sum_II), item.sum_II.device)
        gather(block, {names[0]: again.add}, (), run)
        assert torch.allclose(again.sum_II, item.sum_II, rtol=1e-3, atol=1e-3)
    assert any(not torch.allclose(found[names].sum_II, sums[names]) for names in found)
