"""The model that trains, and the reference it is held against."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from swiftrl.backends.kernels import NONE, Kernels
from swiftrl.backends.products import product_dtype
from swiftrl.core.errors import ConfigError
from swiftrl.data.batch import TreeBatch
from swiftrl.models.spread import is_spread
from swiftrl.models.value_head import value_head
from swiftrl.rlhf.block_attention import block_kernel
from swiftrl.rlhf.compiling import compile_layers, uncompiled
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.divergence import Distance
from swiftrl.rlhf.fused import fuse
from swiftrl.rlhf.layout import LayoutChoice, choose_layout, probe_batch, vocabulary_size
from swiftrl.rlhf.moving_reference import MovingReference
from swiftrl.rlhf.offload import activations_on_host
from swiftrl.rlhf.parallel.base import Parallel
from swiftrl.rlhf.parallel.replicated import Replicated
from swiftrl.rlhf.parallel.sequence_group import SequenceGroup
from swiftrl.rlhf.reference import (
    FrozenModel,
    Precomputed,
    Reference,
    SwitchedAdapters,
    evaluating,
    fingerprint,
)
from swiftrl.rlhf.score_ends import at_ends, at_tokens
from swiftrl.rlhf.scoring import Scorer, TokenLogprobs, causal_lm
from swiftrl.rlhf.teaching import Teacher
from swiftrl.rlhf.tree_attention import AttentionKernel, register
from swiftrl.rlhf.widen import widen

__all__ = ["Policy", "TokenLogprobs"]


class Policy:
    """A model under training: log-probabilities of a batch, with gradient, and the reference's.

    Trainable weights are kept in float32 whatever the model was loaded in; frozen ones stay as
    they are.

    Args:
        model: a causal language model, with or without PEFT adapters.
        layout: "auto", "tree" or "rows".
        compute_dtype: type of the computation.
        kernel: what computes tree attention.
        gradient_checkpointing: recompute activations in the backward pass.
        fused: replace chains of small operations by single ones of the same value.
        kernels: the hardware's own for some of these.
        temperature: of the distribution.
        probe: check the tree layout on a few tokens before relying on it.
        pictures: a batch with a picture, to check a multimodal model's layout on.
        parallel: how models lie over the processes; unset, whole in each.
        compiled: compile the decoder layers of the model that trains, instead of `fused`.
        offload: keep what the backward pass needs on the host meanwhile.
        detach_values: keep the gradient of values (`models.value_head`) from the model below.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layout: str = "auto",
        compute_dtype: torch.dtype = torch.float32,
        kernel: AttentionKernel = block_kernel,
        gradient_checkpointing: bool = False,
        fused: bool = True,
        kernels: Kernels = NONE,
        temperature: float = 1.0,
        probe: bool = True,
        pictures: TreeBatch | None = None,
        parallel: Parallel | None = None,
        compiled: bool = False,
        offload: bool = False,
        detach_values: bool = False,
    ) -> None:
        register()
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, _MASTER))
        self.model = model
        self.compute_dtype = compute_dtype
        self.parallel = parallel or Replicated(Processes(0, 1, next(model.parameters()).device))
        self.parallel.prepare(model)
        self.layout: LayoutChoice = self.parallel.run(
            model, lambda: choose_layout(model, layout, probe=probe, pictures=pictures)
        )
        self._kernel = uncompiled(kernel) if compiled else kernel
        # Single operations would pass by the hooks that carry values from device to device.
        self._fused = fused and not compiled and not is_spread(causal_lm(model))
        self._offload = offload
        self._detach_values = detach_values
        self._kernels = kernels
        self._temperature = temperature
        self._group = SequenceGroup()
        lm = causal_lm(model)
        text = probe_batch(vocabulary_size(lm)) if probe else None
        self._probes = [batch for batch in (text, pictures) if batch is not None and probe]
        self._scorer = self._score(model, temperature)
        self._reference: Reference | None = None
        self._teacher: Teacher | None = None
        if gradient_checkpointing:
            _checkpoint_gradients(model)
        if compiled:
            compile_layers(causal_lm(model))

    def logprobs(
        self, batch: TreeBatch, *, entropy: bool = False, collision: bool = False
    ) -> TokenLogprobs:
        """Return log-probabilities [N] (and entropies or collisions) of the trained tokens."""
        with self._offloading():
            return self._scorer(batch, entropy=entropy, collision=collision)

    def distances(self, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """Return [N] how far from the teacher, with gradient, and [N] log-probabilities, without.

        Raises:
            ConfigError: no teacher was set.
        """
        if self._teacher is None:
            raise ConfigError("this algorithm needs a teacher: give --teacher_model.")
        with self._offloading():
            return self._teacher.distances(self._scorer, batch)

    def valued(self, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N] and values [N] of the states before the trained tokens."""
        head = value_head(self.model)
        assert head is not None
        with self._offloading():
            return self._scorer.valued(batch, head, detach=self._detach_values)

    @contextmanager
    def _offloading(self) -> Iterator[None]:
        if self._offload and torch.is_grad_enabled():
            with activations_on_host(self.model):
                yield
        else:
            yield

    def scores(self, batch: TreeBatch) -> Tensor:
        """Return [B, K] scores of the sequences, of a model with a head of scores."""
        return self.logprobs(at_ends(batch)).logps

    def token_scores(self, batch: TreeBatch) -> Tensor:
        """Return [N, K] scores of the tokens that count, each read at the token itself."""
        return self.logprobs(at_tokens(batch)).logps

    def reference(self, batch: TreeBatch) -> Tensor:
        """Return the reference's log-probabilities [N], without gradient.

        Raises:
            ConfigError: no reference was set.
        """
        if self._reference is None:
            raise ConfigError(
                "this algorithm needs a reference model, and none was set. Give --ref_model, or "
                "train with --tuner_type lora."
            )
        return self._reference(batch)

    def share_tokens(self, group: SequenceGroup) -> None:
        """Let each process of a group work on a part of every batch's tokens from now on.

        Every process of the group must then ask for the same batches in the same order.

        Raises:
            ConfigError: the model runs in the rows layout, or gives something else in parts.
        """
        if group.size > 1 and self.layout.layout != "tree":
            raise ConfigError(
                f"--sequence_parallel_size {group.size} needs --layout tree, and this model runs "
                f"in rows: {self.layout.reason}. Leave --sequence_parallel_size."
            )
        if group.size > 1 and self._probes:
            _check_parts(self._scorer, group, self._probes)
        self._group = group
        self._scorer.share_tokens(group)
        if isinstance(self._reference, FrozenModel):
            self._reference.scorer.share_tokens(group)

    def refer_to_itself(self, adapter: str | None = None) -> None:
        """Take the model without its adapters (or with `adapter` instead) as the reference."""
        self._reference = SwitchedAdapters(self._scorer, adapter)

    def refer_to(self, model: nn.Module) -> None:
        """Take another model as the reference; it is frozen."""
        # Frozen first: the scorer tries fused operations out, which differ for weights that train.
        model.requires_grad_(False)
        self.parallel.prepare(model)
        self._reference = FrozenModel(self._score(model, self._temperature))

    def refer_to_copy(self) -> None:
        """Take the model as it is now, copied and frozen, as the reference."""
        self.refer_to(copy.deepcopy(self.model))

    def refer_to_past_self(self, *, every: int, alpha: float) -> MovingReference:
        """Take the model as it is now as the reference, which then follows it.

        Args:
            every: optimizer steps between updates.
            alpha: share of the policy in each.

        Raises:
            ConfigError: processes hold parts of the weights.
        """
        if not isinstance(self.parallel, Replicated):
            raise ConfigError(
                "--sync_ref_model true: a reference that moves needs the whole model in every "
                "process; leave --fsdp and --deepspeed."
            )
        self._reference = moving = MovingReference(self._scorer, every=every, alpha=alpha)
        return moving

    def learn_from(self, model: nn.Module, distance: Distance) -> None:
        """Take another model as the teacher; it is frozen, and whole in each process.

        Args:
            model: a causal language model with the same tokens, on the policy's device.
            distance: what is measured.

        Raises:
            ModelError: its head is no plain linear layer.
        """
        model.requires_grad_(False)
        whole = Replicated(self.parallel.processes)
        scorer = self._score(model, self._temperature, whole)
        # Either may have outputs beyond the tokens, which pad its head.
        rows = min(map(vocabulary_size, (causal_lm(self.model), causal_lm(model))))
        scorer.linear_head(rows)
        self._teacher = Teacher(scorer, distance, rows)

    @property
    def teacher_model(self) -> nn.Module:
        """The model that `learn_from` was given."""
        assert self._teacher is not None
        return self._teacher.scorer.model

    def teacher_generating(self) -> AbstractContextManager[None]:
        """Give the teacher its ordinary attention for a while."""
        assert self._teacher is not None
        return self._teacher.scorer.plain_attention()

    def precompute(self, folder: Path) -> Precomputed:
        """Keep the reference's log-probabilities in `folder`; call `prepare` on what comes back.

        Raises:
            ConfigError: no reference was set.
        """
        source = self._reference
        if source is None:
            raise ConfigError("there is no reference to precompute: set one first.")
        weights = fingerprint(_weights_of(source, self.model), self.parallel.gather)
        key = f"{weights}-{str(self.compute_dtype)[6:]}"
        self._reference = Precomputed(source, folder, key)
        return self._reference

    @contextmanager
    def generating(self) -> Iterator[None]:
        """Give the model its whole weights and its ordinary attention for a while.

        Every process must come here, and may then take any number of forward passes.
        """
        with self.parallel.whole(self.model), self._scorer.plain_attention():
            yield

    def _score(
        self, model: nn.Module, temperature: float, parallel: Parallel | None = None
    ) -> Scorer:
        parallel = parallel or self.parallel
        compute = self.compute_dtype
        device = parallel.processes.device
        products = product_dtype(device, compute)
        lm = causal_lm(model)
        probe = probe_batch(vocabulary_size(lm)).to(device)
        if self._fused:
            for part in parallel.parts(model):
                fuse(causal_lm(part), products, self._kernels)
            # Gathered weights have the type of the computation.
            if products != compute and not parallel.lockstep and widen(lm):
                compute = products
        scorer = Scorer(
            model,
            layout=self.layout.layout,
            compute_dtype=compute,
            product_dtype=products,
            kernel=self._kernel,
            temperature=temperature,
            inside=parallel.run,
            idle=probe if parallel.lockstep else None,
            most=parallel.processes.most if parallel.lockstep else None,
        )
        if self._fused:
            with evaluating(model):
                scorer.shorten(probe)
        scorer.share_tokens(self._group)
        return scorer


_MASTER = torch.float32


def _check_parts(scorer: Scorer, group: SequenceGroup, probes: list[TreeBatch]) -> None:
    """Refuse a model that mixes tokens elsewhere than in its attention.

    Raises:
        ConfigError: its log-probabilities are others when the tokens are divided.
    """
    device = causal_lm(scorer.model).get_input_embeddings().weight.device
    bound = 1e-3 if scorer.compute_dtype == torch.float32 else 0.1
    with evaluating(scorer.model):
        for probe in probes:
            batch = probe.to(device)
            whole = scorer(batch).logps
            scorer.share_tokens(group)
            try:
                found = scorer(batch).logps
            finally:
                scorer.share_tokens(SequenceGroup())
            spread = (whole - whole.mean()).square().mean().sqrt().clamp_min(1e-2)
            if not (found - whole).square().mean().sqrt() <= bound * spread:
                raise ConfigError(
                    f"--sequence_parallel_size {group.size}: "
                    f"{type(causal_lm(scorer.model)).__name__} gives other log-probabilities when "
                    "its tokens are divided. Leave --sequence_parallel_size."
                )


def _weights_of(reference: Reference, model: nn.Module) -> nn.Module:
    return reference.scorer.model if isinstance(reference, FrozenModel) else model


def _checkpoint_gradients(model: nn.Module) -> None:
    lm = causal_lm(model)
    if not getattr(lm, "supports_gradient_checkpointing", False):
        raise ConfigError(
            f"{type(lm).__name__} does not support --gradient_checkpointing; switch it off."
        )
    # The later name, where transformers has it already.
    if hasattr(lm, "activation_checkpointing_enable"):
        lm.activation_checkpointing_enable({"use_reentrant": False})
    else:
        lm.gradient_checkpointing_enable({"use_reentrant": False})
    # Only re-entrant recomputation needs inputs with a gradient, and some models add to them.
    if hasattr(lm, "_require_grads_hook"):
        lm.disable_input_require_grads()
