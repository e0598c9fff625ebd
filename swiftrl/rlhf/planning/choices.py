"""The settings that decide memory, as plain values, so that others can be tried on paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from swiftrl.rlhf.planning.activations import Arithmetic, Tuning
from swiftrl.rlhf.planning.shape import Linear, ModelShape
from swiftrl.rlhf.planning.workload import MicroBatch, Tree

__all__ = [
    "Choices",
    "Device",
    "Quantisation",
    "ReferenceKind",
    "Rollout",
    "Sharding",
    "TeacherKind",
]

ReferenceKind = Literal["none", "adapters", "copy", "precomputed", "past"]
Sharding = Literal["none", "fsdp2", "zero1", "zero2", "zero3"]
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How frozen linear layers are stored.

    Attributes:
        method: its name.
        bits: of a weight.
        extra_bits: of a weight's share in scales and zero points.
    """

    method: str
    bits: float
    extra_bits: float

    @property
    def bytes(self) -> float:
        """Of a weight, all in all."""
        return (self.bits + self.extra_bits) / 8


@dataclass(frozen=True, slots=True)
class TeacherKind:
    """The frozen model that a student is held against, whole in every process.

    Attributes:
        shape: of it.
        writes: it writes replies.
        trained_head: the student's head trains, so that distances are taken in float32 at once.
    """

    shape: ModelShape
    writes: bool
    trained_head: bool


@dataclass(frozen=True, slots=True)
class Device:
    """Where a process runs.

    Attributes:
        name: of the backend.
        host: it is the processor, whose memory the framework shares.
        memory: bytes.
        base: bytes of the framework before anything is loaded.
        slack: share of what comes and goes that the allocator holds on top.
        native: multiplies 16-bit numbers itself; else frozen weights are widened as they run.
        blocks: attention runs by blocks of queries.
        whole: attention runs as one call over the tree.
    """

    name: str
    host: bool
    memory: int
    base: int
    slack: float
    native: bool = True
    blocks: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rollout:
    """Replies written at once, and how long they and their prompts are."""

    sequences: int
    prompt: int
    reply: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user may change.

    Attributes:
        full: all weights train, not adapters.
        dtype_bytes: of --torch_dtype.
        adapted: names of linear layers with LoRA where `full` is false.
        frozen_towers: parts whose weights stay.
        rank: of LoRA.
        dropout: whether LoRA drops inputs.
        saved: weights of modules trained in full beside adapters.
        quantisation: of frozen linear layers; None as stored.
        trees: rows of the largest forward pass, longest first.
        layout: "tree" or "rows".
        patches: of a row's pictures.
        accumulation: forward passes an optimizer step.
        checkpointing: gradient checkpointing.
        offload_activations: what is kept goes to the host's memory.
        reference: what answers for it.
        states: float32 numbers that the optimizer keeps of a weight.
        processes: that share the work.
        sharding: what each of them holds a part of.
        offload: optimizer, and with fsdp2 and zero3 the weights, lie in the host's memory.
        explicit: attention runs score by score.
        rollout: of online learning; None for data that lie ready.
        sequence_parallel: processes that share each row.
        teacher: of distillation; None without one.
    """

    full: bool
    dtype_bytes: int
    adapted: frozenset[str]
    frozen_towers: frozenset[str]
    rank: int
    dropout: bool
    saved: int
    quantisation: Quantisation | None
    trees: tuple[Tree, ...]
    layout: str
    patches: int
    accumulation: int
    checkpointing: bool
    offload_activations: bool
    reference: ReferenceKind
    states: int
    processes: int
    sharding: Sharding
    offload: bool
    explicit: bool = False
    rollout: Rollout | None = None
    sequence_parallel: int = 1
    teacher: TeacherKind | None = None

    def batch(self) -> MicroBatch:
        """Return the largest forward pass."""
        return MicroBatch(self.trees, self.layout, self.patches * len(self.trees))

    def tuning(self) -> Tuning:
        """Return how a layer's linear layers train."""
        return Tuning(
            frozenset() if self.full else self.adapted, self.full, self.rank, self.dropout
        )

    def arithmetic(self, device: Device) -> Arithmetic:
        """Return the bytes of what flows."""
        narrow = self.dtype_bytes < 4 and device.native
        result = self.dtype_bytes if narrow else 4
        flow = 4 if self.full else result
        attention = "segments"
        if device.whole and narrow:
            attention = "whole"
        elif self.explicit:
            attention = "explicit"
        elif device.blocks and narrow and not self.full:
            # Trained weights make keys and queries float32, which blocks do not take.
            attention = "blocks"
        return Arithmetic(flow, result, attention)

    def trained(self, shape: ModelShape) -> int:
        """Return how many weights train."""
        if self.full:
            return sum(
                size for tower, size in shape.sizes.items() if tower not in self.frozen_towers
            )
        return self.saved + sum(
            self.rank * (linear.inputs + linear.outputs) for linear in self.adapters(shape)
        )

    def adapters(self, shape: ModelShape) -> list[Linear]:
        """Return the linear layers with LoRA."""
        return [linear for linear in shape.linears if linear.name in self.adapted]

    def shortened(self, length: int) -> Choices:
        """Return the same with sequences of at most `length` tokens."""
        trees = tuple(_cut(tree, length) for tree in self.trees)
        rollout = self.rollout
        if rollout is not None:
            reply = min(rollout.reply, length)
            rollout = replace(rollout, reply=reply, prompt=min(rollout.prompt, length))
        return replace(self, trees=trees, rollout=rollout)


def _cut(tree: Tree, length: int) -> Tree:
    if tree.longest <= length:
        return tree
    replies = tuple(min(reply, length) for reply in tree.replies)
    prompt = max(min(tree.prompt, length - max(replies)), 0)
    trained = tuple(min(n, r) for n, r in zip(tree.trained, replies, strict=True))
    return Tree(prompt, replies, trained)
