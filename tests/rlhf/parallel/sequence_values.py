"""Holds log-probabilities and gradients of a group of processes against those of one alone.

A program for torchrun, of architectures: each process computes both, and fails where they differ.
"""

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from tree_models import build, forest, mixed_batch

from swiftrl.core.lifeline import run_as_rank
from swiftrl.data.batch import TreeBatch, pack
from swiftrl.data.picture_probe import picture_probe
from swiftrl.models.load import load_tokenizer
from swiftrl.models.processor import load_media_processor
from swiftrl.models.resolve import resolve
from swiftrl.rlhf.block_attention import block_kernel
from swiftrl.rlhf.parallel.sequence_group import SequenceGroup
from swiftrl.rlhf.policy import Policy
from swiftrl.templates.template import Template

SHORT = 8
"""Beyond it rotary embeddings that look at the length turn otherwise: behind the first slice."""
BY_LENGTH = {
    "phi3": {
        "sliding_window": None,
        "original_max_position_embeddings": SHORT,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 2.0],
            "long_factor": [3.0, 5.0], "original_max_position_embeddings": SHORT,
        },
    },
    "qwen3": {
        "max_position_embeddings": SHORT,
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    },
}  # fmt: skip


def lora(model):
    model = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def value_and_gradients(policy: Policy, batch: TreeBatch, group: SequenceGroup):
    """Return logps, entropies and the gradients' sums over the group."""
    policy.share_tokens(group)
    policy.model.zero_grad()
    factor = torch.linspace(-1, 1, len(batch.target_ids))
    found = policy.logprobs(batch, entropy=True)
    ((found.logps + 0.5 * found.entropy) * factor).sum().backward()
    gradients = {}
    for name, parameter in policy.model.named_parameters():
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients[name] = group.add_(gradient.clone()) if group.size > 1 else gradient.clone()
    return found.logps.detach(), found.entropy.detach(), gradients


def compare(policy: Policy, batch: TreeBatch, group: SequenceGroup, case: str) -> None:
    alone = value_and_gradients(policy, batch, SequenceGroup())
    together = value_and_gradients(policy, batch, group)
    for expected, found in zip(alone[:2], together[:2], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)
        first = found.clone()
        dist.broadcast(first, src=0)
        assert torch.equal(first, found), f"{case}: the processes do not agree to the last bit"
    largest = max(gradient.abs().max() for gradient in alone[2].values())
    assert largest > 0
    for name, expected in alone[2].items():
        error = (together[2][name] - expected).abs().max()
        assert error <= 2e-5 * largest, f"{case}: gradient of {name} off by {error / largest:.1e}"


def picture_policy(checkpointing: bool):
    """The built-in model with pictures, and two pairs about pictures and one about none."""
    from transformers import Qwen3VLForConditionalGeneration

    resolved = resolve("builtin:tiny-vl")
    tokenizer = load_tokenizer(resolved)
    template = Template.load(tokenizer, processor=load_media_processor(resolved, tokenizer))
    model = Qwen3VLForConditionalGeneration.from_pretrained(resolved.path, dtype=torch.float32)
    batch = picture_probe(template)
    return Policy(model, pictures=batch, gradient_checkpointing=checkpointing), batch


def main() -> int:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    group = SequenceGroup.join(dist.get_world_size(), timedelta(seconds=60))
    tiny = pack(forest(((1, 1), (0, 2))))  # fewer tokens than processes have slices to fill
    for name in sys.argv[1:]:
        compare(Policy(build(name), probe=False, fused=False), mixed_batch(), group, name)
    long = pack(forest(((2, 2, 2), (3, 2), (9, 6, 5))))  # the first slice has short ones alone
    for name, rope in BY_LENGTH.items():
        policy = Policy(build(name, **rope), gradient_checkpointing=True)
        policy.model.train()
        compare(policy, long, group, f"{name}, rotary by length")
    for fused in (True, False):
        for checkpointing in (True, False):
            for batch in (mixed_batch(), tiny):
                policy = Policy(
                    lora(build("qwen3")),
                    probe=False,
                    fused=fused,
                    gradient_checkpointing=checkpointing,
                    kernel=block_kernel,
                )
                policy.model.train()
                compare(policy, batch, group, f"LoRA, fused {fused}, checked {checkpointing}")
    for checkpointing in (True, False):
        compare(*picture_policy(checkpointing), group, f"pictures, checked {checkpointing}")
    if dist.get_rank() == 0:
        sys.stdout.write("equal\n")
    dist.barrier()
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    run_as_rank(main)
