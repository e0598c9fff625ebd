"""What operations need while they run, beside what they keep."""

from __future__ import annotations

from swiftrl.rlhf.planning.activations import Arithmetic
from swiftrl.rlhf.planning.choices import Choices, Device
from swiftrl.rlhf.planning.shape import ModelShape

__all__ = ["distance_working", "head_working", "layer_working"]

_F32 = 4
_CHUNK = 256
_STRIP = 2**20
_DISTRIBUTIONS = 6
"""What of the size of the logits exists at once where distances are taken."""


def head_working(
    shape: ModelShape, choices: Choices, device: Device, arithmetic: Arithmetic
) -> float:
    """Return the bytes of a chunk of logits, and of the head's gradient where it trains."""
    rows = min(_CHUNK, max(choices.batch().trained, 1))
    products = arithmetic.result
    chunk = rows * shape.vocabulary * products
    chunk += _STRIP if device.host else rows * shape.vocabulary * _F32
    trains = choices.full and "language" not in choices.frozen_towers
    held = _F32 if trains else choices.dtype_bytes
    copy = shape.head * products if held != products else 0
    if not trains:
        return chunk + copy
    # The gradient so far, a chunk's part of it, and that part in float32.
    gradient = shape.head * (_F32 + products + (_F32 if products != _F32 else 0))
    return chunk + copy + gradient


def distance_working(choices: Choices, device: Device, arithmetic: Arithmetic) -> float:
    """Return the bytes of a chunk of the teacher's logits, and of both distributions of it."""
    teacher = choices.teacher
    if teacher is None:
        return 0.0
    batch = choices.batch()
    rows = min(_CHUNK, max(batch.trained, 1))
    states = batch.trained * teacher.shape.width * arithmetic.result
    chunk = rows * teacher.shape.vocabulary
    # Logits, both log-softmaxes, the mixture and their products, or a strip of them at a time.
    wide = _STRIP if device.host and not teacher.trained_head else chunk * _F32
    return states + chunk * arithmetic.result + _DISTRIBUTIONS * wide


def layer_working(
    shape: ModelShape, choices: Choices, device: Device, arithmetic: Arithmetic
) -> float:
    """Return the bytes of gradients on their way, and of matrices unpacked or widened."""
    tokens = choices.batch().tokens
    most = 0.0
    for layer in shape.layers:
        moving = 3 * layer.width * arithmetic.flow
        if layer.attention is not None:
            a = layer.attention
            moving += (2 * a.query + a.output) * arithmetic.result
            moving += (a.key + a.value) * (arithmetic.result + _F32)
        if layer.mlp is not None and not device.host:
            moving += 4 * layer.mlp.inner * max(layer.mlp.experts, 1) * arithmetic.result
        largest = max((linear.size for linear in layer.linears), default=0)
        weights = 0.0
        widened = choices.dtype_bytes < arithmetic.result
        if choices.full:  # a matrix's gradient as the product gives it, and in float32
            weights = largest * (_F32 + arithmetic.result)
        elif widened or choices.quantisation is not None:
            weights = largest * arithmetic.result
        most = max(most, moving * tokens + weights)
    return most
