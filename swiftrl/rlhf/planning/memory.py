"""The memory of one process by part, at the moment of a step when it holds most.

A step runs through moments, each with its own parts: the end of a forward pass (all that the
backward pass needs is there), the end of a backward pass (all gradients are), with a teacher its
reading of the batch, and the writing of replies. The peak is the largest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from swiftrl.rlhf.planning.activations import (
    Arithmetic,
    checkpointed,
    head_kept,
    kept_by_layer,
)
from swiftrl.rlhf.planning.choices import Choices, Device
from swiftrl.rlhf.planning.shape import Layer, ModelShape
from swiftrl.rlhf.planning.working import distance_working, head_working, layer_working
from swiftrl.rlhf.planning.workload import MicroBatch, Tree

__all__ = ["PARTS", "Memory", "plan_memory"]

PARTS = {
    "base": "framework",
    "weights": "frozen weights",
    "masters": "trained weights (float32)",
    "copies": "trained weights as they compute",
    "reference": "reference model",
    "teacher": "teacher",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "logits": "logits and head",
    "working": "working memory",
    "cache": "keys and values of rollouts",
    "slack": "allocator",
}
_F32 = 4
_BUCKET = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process.

    Attributes:
        parts: at the peak, by the keys of `PARTS`.
        moment: when that is.
        moments: bytes of each moment.
        host: bytes that offloading puts into the host's memory, for this process.
    """

    parts: Mapping[str, float]
    moment: str
    moments: Mapping[str, float]
    host: float

    @property
    def total(self) -> float:
        """Bytes at the peak."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class _Still:
    """Bytes that lie there all the time, and those of what trains."""

    parts: Mapping[str, float]
    gradients: float
    copies: float
    gathered: float
    host: float


def plan_memory(shape: ModelShape, choices: Choices, device: Device) -> Memory:
    """Return what a process needs.

    Args:
        shape: of the model.
        choices: of the user.
        device: it runs on.
    """
    arithmetic = choices.arithmetic(device)
    still = _still(shape, choices, device, arithmetic)
    moments = {
        "forward": _forward(shape, choices, device, arithmetic, still),
        "backward": _backward(shape, choices, device, arithmetic, still),
    }
    if device.host:
        moments["saving"] = _saving(shape, choices, still)
    teacher = choices.teacher
    if teacher is not None:
        moments["teaching"] = _teaching(teacher.shape, choices, device, arithmetic, still)
    if choices.rollout is not None:
        moments["rollout"] = _rollout(shape, choices, arithmetic, still)
        if teacher is not None and teacher.writes:
            written = _rollout(teacher.shape, choices, arithmetic, still)
            if sum(written.values()) > sum(moments["rollout"].values()):
                moments["rollout"] = written
    full = {name: _with_slack({**still.parts, **parts}, device) for name, parts in moments.items()}
    totals = {name: sum(parts.values()) for name, parts in full.items()}
    moment = max(totals, key=lambda name: totals[name])
    host = still.host
    if choices.offload_activations:
        host += _kept(shape, choices, arithmetic)
    return Memory(full[moment], moment, totals, host)


def _with_slack(parts: dict[str, float], device: Device) -> dict[str, float]:
    moving = ("activations", "logits", "working", "cache", "copies")
    parts["slack"] = device.slack * sum(parts.get(name, 0.0) for name in moving)
    return parts


def _still(shape: ModelShape, choices: Choices, device: Device, arithmetic: Arithmetic) -> _Still:
    trained = choices.trained(shape)
    frozen = _frozen_bytes(shape, choices)
    masters, gradients = trained * _F32, trained * _F32
    optimizer = trained * choices.states * _F32
    reference = 0.0
    if choices.reference == "copy":
        reference = shape.parameters * choices.dtype_bytes
    elif choices.reference == "past":
        reference = trained * _F32
    # Autocast keeps each trained matrix in the type of the products from its first use on.
    copies = trained * arithmetic.result if choices.full and arithmetic.casts else 0.0
    copies -= shape.embedding * arithmetic.result if copies and not shape.tied else 0.0
    n, way = choices.processes, choices.sharding
    host = 0.0
    gathered = 0.0
    if way in ("fsdp2", "zero3"):
        wide = max((layer.parameters for layer in shape.layers), default=0)
        ends = shape.embedding + (0 if shape.tied else shape.head)
        gathered = (2 * wide + ends) * choices.dtype_bytes
        frozen, masters, reference = frozen / n, masters / n, reference / n
        copies = 0.0
    if way in ("fsdp2", "zero2", "zero3"):
        gradients /= n
    if way != "none":
        optimizer /= n
    if choices.offload:
        moved = optimizer + (masters + gradients if way in ("fsdp2", "zero3") else 0.0)
        host, optimizer = moved, 0.0
        if way in ("fsdp2", "zero3"):
            host += frozen
            masters = frozen = gradients = 0.0
    parts = {
        "base": float(device.base),
        "weights": frozen,
        "masters": masters,
        "reference": reference,
        "teacher": 0.0 if choices.teacher is None else _size(choices.teacher.shape, choices),
        "optimizer": optimizer,
    }
    return _Still(parts, gradients, copies, gathered, host)


def _size(shape: ModelShape, choices: Choices) -> float:
    """Bytes of a frozen model of its own."""
    return shape.parameters * choices.dtype_bytes


def _frozen_bytes(shape: ModelShape, choices: Choices) -> float:
    frozen = shape.parameters - (choices.trained(shape) if choices.full else 0)
    if choices.quantisation is None:
        return frozen * choices.dtype_bytes
    packed = sum(linear.size for layer in shape.layers for linear in layer.linears)
    packed += sum(_stacked(layer) for layer in shape.layers)
    return packed * choices.quantisation.bytes + (frozen - packed) * choices.dtype_bytes


def _stacked(layer: Layer) -> int:
    """Return the weights of experts that the model stacks, which are packed one by one."""
    mlp = layer.mlp
    listed = any(".experts." in linear.name for linear in layer.linears)
    return 0 if mlp is None or listed else mlp.total * 3 * mlp.inner * layer.width


def _tokens(choices: Choices) -> int:
    return choices.batch().tokens


def _kept(shape: ModelShape, choices: Choices, arithmetic: Arithmetic) -> float:
    """What waits for the backward pass between the layers, or in them without checkpointing."""
    batch, tokens = choices.batch(), _tokens(choices)
    if choices.checkpointing:
        return sum(checkpointed(layer, arithmetic, tokens) for layer in shape.layers)
    tuning = choices.tuning()
    kept = sum(kept_by_layer(layer, batch, arithmetic, tuning, tokens) for layer in shape.layers)
    if shape.encoder and ("vision" not in choices.frozen_towers):
        encoding = MicroBatch((Tree(batch.patches, (0,), (0,)),), "rows")
        kept += sum(
            kept_by_layer(layer, encoding, arithmetic, tuning, batch.patches)
            for layer in shape.encoder
        )
    return kept


def _widest(shape: ModelShape, choices: Choices, arithmetic: Arithmetic) -> float:
    batch, tuning, tokens = choices.batch(), choices.tuning(), _tokens(choices)
    return max(
        (kept_by_layer(layer, batch, arithmetic, tuning, tokens) for layer in shape.layers),
        default=0.0,
    )


def _forward(
    shape: ModelShape,
    choices: Choices,
    device: Device,
    arithmetic: Arithmetic,
    still: _Still,
) -> dict[str, float]:
    """The end of the last forward pass of a step: earlier ones have left their gradients."""
    batch = choices.batch()
    kept = _kept(shape, choices, arithmetic)
    if choices.offload_activations:
        kept = 2 * kept / max(len(shape.layers), 1)
    working = layer_working(shape, choices, device, arithmetic) + still.gathered
    if choices.checkpointing:
        # The first layer that the backward pass runs again.
        working += _widest(shape, choices, arithmetic)
    parts = {
        "gradients": still.gradients if choices.accumulation > 1 else 0.0,
        "activations": kept + head_kept(shape.width, batch.trained, batch.tokens, arithmetic),
        "logits": head_working(shape, choices, device, arithmetic)
        + distance_working(choices, device, arithmetic),
        "working": working,
        "copies": still.copies,
    }
    return parts


def _teaching(
    teacher: ModelShape,
    choices: Choices,
    device: Device,
    arithmetic: Arithmetic,
    still: _Still,
) -> dict[str, float]:
    """The teacher's pass over the batch, before the student's: nothing of it is kept."""
    frozen = replace(choices, full=False, adapted=frozenset(), checkpointing=True)
    return {
        "gradients": still.gradients if choices.accumulation > 1 else 0.0,
        "working": layer_working(teacher, frozen, device, arithmetic) + still.gathered,
        "copies": still.copies,
    }


def _backward(
    shape: ModelShape,
    choices: Choices,
    device: Device,
    arithmetic: Arithmetic,
    still: _Still,
) -> dict[str, float]:
    """The end of a backward pass, or the update that follows: every gradient is there."""
    exchange = 2 * _BUCKET if choices.processes > 1 and choices.sharding == "none" else 0
    first = (
        kept_by_layer(
            shape.layers[0], choices.batch(), arithmetic, choices.tuning(), _tokens(choices)
        )
        if shape.layers
        else 0.0
    )
    trains = choices.full and "language" not in choices.frozen_towers
    return {
        "gradients": still.gradients,
        "activations": first,
        "logits": shape.embedding * _F32 * (2 if shape.tied else 1) if trains else 0.0,
        "working": layer_working(shape, choices, device, arithmetic) + exchange + still.gathered,
    }


def _saving(shape: ModelShape, choices: Choices, still: _Still) -> dict[str, float]:
    """A checkpoint on its way to the disk; an accelerator's tensors are copied to the host."""
    trained = choices.trained(shape)
    narrowed = choices.full and choices.dtype_bytes < _F32
    files = float(trained * choices.dtype_bytes) if narrowed else 0.0
    if choices.sharding != "none":
        # The main process puts the weights together, and but for FSDP2 the optimizer's states:
        # there every process writes its own.
        states = 0 if choices.sharding == "fsdp2" else choices.states
        files += trained * _F32 * (1 + states)
    return {"gradients": still.gradients, "working": files}


def _rollout(
    shape: ModelShape, choices: Choices, arithmetic: Arithmetic, still: _Still
) -> dict[str, float]:
    """The last token of the longest replies."""
    assert choices.rollout is not None
    asked = choices.rollout
    tokens = asked.sequences * (asked.prompt + asked.reply)
    cache = shape.cached * arithmetic.result * tokens
    # A layer's keys and values are joined with the new token's: old and new exist together.
    joined = cache / max(len(shape.layers), 1)
    # Scores as the head gives them and in float32, what sampling makes of them, tokens seen.
    logits = asked.sequences * shape.vocabulary * (arithmetic.result + 4 * _F32 + 1)
    # The divided weights are gathered whole while replies are written.
    whole = shape.parameters * choices.dtype_bytes if still.gathered else 0.0
    prefill = asked.sequences * asked.prompt * shape.width * arithmetic.flow * 8
    return {
        "cache": cache + joined,
        "logits": logits,
        "working": prefill + whole,
        "copies": still.copies,
        # The last step's are only forgotten when the next one begins.
        "gradients": still.gradients,
    }
