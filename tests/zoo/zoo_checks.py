"""What must hold for every architecture: each check is a function of a case, and raises if not.

A check may rely on nothing that another one did; models are made anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zoo_case import Case
from zoo_generation import generation, reply_types
from zoo_groups import quantisation
from zoo_media_checks import media, towers
from zoo_require import close, require

from swiftrl.core.errors import ConfigError
from swiftrl.data.batch import Tree, TreeBatch, pack
from swiftrl.models.backbone import backbone_of
from swiftrl.models.config import TunerConfig
from swiftrl.models.lora import add_lora, load_adapters
from swiftrl.models.merge import merge
from swiftrl.models.towers import tower_of
from swiftrl.rlhf.algorithm import ALGORITHMS
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.layout import choose_layout
from swiftrl.rlhf.media_inputs import media_rows
from swiftrl.rlhf.optim import LossScale
from swiftrl.rlhf.order import MicroBatch
from swiftrl.rlhf.parallel.replicated import Replicated
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.scoring import Scorer
from swiftrl.rlhf.stepping import Stepper
from swiftrl.rlhf.steps import Passes

__all__ = ["CHECKS", "MEDIA_CHECKS", "adapted", "layout_of"]

STEPS = 4
RATE = 5e-3


def layout_of(case: Case) -> tuple[str, str]:
    """Return the layout that training would choose, and why it is not trees if it is not."""
    choice = choose_layout(case.model(), pictures=case.media_batch())
    return choice.layout, choice.reason if choice.layout == "rows" else ""


def adapted(case: Case, seed: int = 3) -> Any:
    """Return a model with LoRA on the family's own targets, all of which must exist."""
    targets = [*case.spec.lora_targets] or ["all-linear"]
    config = TunerConfig(lora_rank=4, lora_dropout=0.0, target_modules=targets)
    model = add_lora(case.model(), config, case.spec)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, which hides mistakes
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def forward(case: Case) -> None:
    """Logits are finite, and none depends on a later token."""
    model, ids = case.model(), case.text(12, rows=2)
    with torch.no_grad():
        types = reply_types(model, ids, 4)
        logits = model(input_ids=ids, use_cache=False, **types).logits
        changed = ids.clone()
        changed[:, 9:] = case.text(3, rows=2, seed=9)
        other = model(input_ids=changed, use_cache=False, **types).logits
    require(logits.isfinite().all(), "logits are not finite")
    close(other[:, :9], logits[:, :9], 1e-5, "logits before a changed token")
    require((other[:, 9:] - logits[:, 9:]).abs().max() > 1e-4, "logits do not depend on tokens")


def rows(case: Case) -> None:
    """Padded rows give what the model's own forward gives each sequence alone."""
    model = case.model()
    trees = case.trees()
    with torch.no_grad():
        found = Scorer(model, layout="rows")(pack(trees)).logps
        alone = [_alone(model, single) for tree in trees for single in _singles(tree)]
    close(found, torch.cat(alone), 1e-4, "log-probabilities of padded rows")


def _singles(tree: Tree) -> list[Tree]:
    return [
        replace(tree, branch_ids=(ids,), branch_weights=(weights,))
        for ids, weights in zip(tree.branch_ids, tree.branch_weights, strict=True)
    ]


def _alone(model: Any, tree: Tree) -> Tensor:
    batch = pack([tree])
    row = batch.to_rows()
    (call,) = media_rows(model, backbone_of(model).reads, batch, row, own_positions=True)
    logits = model(use_cache=False, **call.arguments).logits[0]
    chosen = logits[batch.source_index].float().log_softmax(-1)
    return chosen.gather(1, batch.target_ids[:, None]).squeeze(1)


def tree(case: Case) -> None:
    """Trees give the log-probabilities and the gradients of rows."""
    wanted, wanted_gradients = _with_gradients(case, "rows")
    found, gradients = _with_gradients(case, "tree")
    close(found, wanted, 1e-4, "log-probabilities of trees")
    require(gradients.keys() == wanted_gradients.keys(), "other weights have gradients")
    largest = max(float(gradient.abs().max()) for gradient in wanted_gradients.values())
    for name, gradient in wanted_gradients.items():
        error = float((gradients[name] - gradient).abs().max()) / largest
        require(error <= 1e-4, f"gradient of {name}: off by {error:.1e} of the largest")


def _with_gradients(case: Case, layout: str) -> tuple[Tensor, dict[str, Tensor]]:
    model, batch = case.model(), case.batch()
    policy = Policy(model, layout=layout, fused=False, probe=False)
    logps = policy.logprobs(batch).logps
    (logps * torch.linspace(-1, 1, len(logps))).sum().backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return logps.detach(), found


def fused(case: Case) -> None:
    """Fused operations and the shortened last layer change no log-probability."""
    batch = case.batch()
    values = []
    for fuse in (False, True):
        policy = Policy(case.model(), fused=fuse, pictures=case.media_batch())
        values.append(policy.logprobs(batch).logps.detach())
    close(values[1], values[0], 1e-4, "log-probabilities with fused operations")


def lora(case: Case) -> None:
    """Every target of the registry takes LoRA, as all-linear does; nothing else trains."""
    model = adapted(case)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    require(trained, "nothing trains")
    require(all("lora_" in name for name in trained), "something besides adapters trains")
    everywhere = add_lora(case.model(), TunerConfig(lora_dropout=0.0), case.spec)
    trained += [name for name, p in everywhere.named_parameters() if p.requires_grad]
    require(any(p.requires_grad for p in everywhere.parameters()), "all-linear trains nothing")
    frozen = [name for name in trained if tower_of(name, case.spec) != "language"]
    require(not frozen, f"a frozen tower trains: {frozen[:2]}")


def dpo(case: Case) -> None:
    """DPO lowers the loss from ln 2, and changes the adapters only."""
    targets = [*case.spec.lora_targets] or ["all-linear"]
    config = TunerConfig(lora_rank=4, lora_dropout=0.0, target_modules=targets)
    policy = Policy(add_lora(case.model(), config, case.spec), pictures=case.media_batch())
    policy.refer_to_itself()
    before = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    batch = case.pairs()
    losses = _train(policy, batch)
    require(abs(losses[0] - np.log(2)) < 1e-3, f"the first loss is {losses[0]:.4f}, not ln 2")
    require(
        losses[-1] < losses[0] - 1e-3, f"the loss went from {losses[0]:.4f} to {losses[-1]:.4f}"
    )
    changed = {
        name for name, value in policy.model.named_parameters() if not value.equal(before[name])
    }
    require(all("lora_" in name for name in changed), f"changed: {sorted(changed)[:3]}")
    require(any("lora_B" in name for name in changed), "no adapter changed")


def _train(policy: Policy, batch: TreeBatch) -> list[float]:
    kind = ALGORITHMS.get("dpo")
    processes = Processes(0, 1, torch.device("cpu"))
    trained = Replicated(processes).train(policy.model, TrainConfig(), fused=False)
    passes = Passes(policy, kind(kind.Config()), processes, seed=0)
    stepper = Stepper(passes, trained, LossScale(torch.float32), max_norm=1.0)
    micro = MicroBatch(batch, 0, tuple(str(index) for index in range(len(batch.shapes))))
    losses = []
    for _ in range(STEPS):
        outcome = stepper.step([micro], rate=RATE)
        require(outcome.updated, "loss or gradient is not finite")
        losses.append(outcome.loss)
    return losses


def checkpointing(case: Case) -> None:
    """Recomputed activations give the same gradients, or are refused where there are none."""
    if not case.model_class.supports_gradient_checkpointing:
        try:
            Policy(case.model(), gradient_checkpointing=True)
        except ConfigError:
            return
        raise AssertionError("gradient checkpointing is neither supported nor refused")
    gradients = []
    for recompute in (False, True):
        model = adapted(case)
        policy = Policy(model, gradient_checkpointing=recompute, pictures=case.media_batch())
        model.train()
        torch.manual_seed(0)
        policy.logprobs(case.batch()).logps.sum().backward()
        found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat(found))
    close(gradients[1], gradients[0], 1e-4, "gradient with recomputation")


def bfloat16(case: Case) -> None:
    """Frozen bfloat16 weights give nearly the float32 log-probabilities, and gradients."""
    exact = Policy(case.model(), pictures=case.media_batch()).logprobs(case.batch()).logps.detach()
    model = case.model(dtype=torch.bfloat16)
    targets = [*case.spec.lora_targets] or ["all-linear"]
    config = TunerConfig(lora_rank=4, lora_dropout=0.0, target_modules=targets)
    policy = Policy(
        add_lora(model, config, case.spec),
        compute_dtype=torch.bfloat16,
        pictures=case.media_batch(),
    )
    logps = policy.logprobs(case.batch()).logps
    logps.sum().backward()
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    require(all(p.dtype == torch.float32 for p in trained), "adapters are not float32")
    found = [p.grad for p in trained if p.grad is not None]
    require(found and all(grad.isfinite().all() for grad in found), "gradients are not finite")
    # Half the tokens, since a router may send a few to another expert by rounding.
    error = float((logps.detach() - exact).abs().median())
    require(error <= 0.25, f"half of the log-probabilities are off by {error:.2f} nats or more")


def adapters(case: Case) -> None:
    """Saved adapters, loaded, and merged, compute what the trained ones do."""
    model = adapted(case)
    ids = case.text(12)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        wanted = model(input_ids=ids, use_cache=False).logits
        plain = case.model()(input_ids=ids, use_cache=False).logits
        require((wanted - plain).abs().max() > 1e-4, "the adapters change nothing")
        model.save_pretrained(folder, save_embedding_layers=False)
        loaded = load_adapters(case.model(), [Path(folder)]).eval()
        close(loaded(input_ids=ids, use_cache=False).logits, wanted, 1e-5, "loaded adapters")
        merged = merge(loaded)
        close(merged(input_ids=ids, use_cache=False).logits, wanted, 1e-3, "merged adapters")


CHECKS: dict[str, Callable[[Case], None]] = {
    "forward": forward,
    "rows": rows,
    "tree": tree,
    "fused": fused,
    "lora": lora,
    "dpo": dpo,
    "checkpointing": checkpointing,
    "bfloat16": bfloat16,
    "generation": generation,
    "adapters": adapters,
    "quantisation": quantisation,
    "media": media,
    "towers": towers,
}
MEDIA_CHECKS = ("media", "towers")
"""Of architectures that take more than text."""
