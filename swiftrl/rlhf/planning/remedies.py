"""Settings that need less memory, in the order of what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from swiftrl.rlhf.planning.choices import Choices, Device, Quantisation
from swiftrl.rlhf.planning.memory import Memory, plan_memory
from swiftrl.rlhf.planning.quantised import quantisation
from swiftrl.rlhf.planning.shape import ModelShape

__all__ = ["Remedy", "remedies"]

_DEVICES = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of settings.

    Attributes:
        flags: as they are typed.
        costs: in words.
        memory: what a process needs with it (and with `before`, if any).
        fits: whether that is no more than the device has.
        together: with all changes above it that help.
    """

    flags: str
    costs: str
    memory: Memory
    fits: bool
    together: bool = False


@dataclass(frozen=True, slots=True)
class _Change:
    flags: str
    costs: str
    choices: Choices


def remedies(shape: ModelShape, choices: Choices, device: Device) -> list[Remedy]:
    """Return single changes that help, then what the cheap ones do together, if need be.

    Args:
        shape: of the model.
        choices: the user's.
        device: it has to fit.
    """
    now = plan_memory(shape, choices, device).total
    found: list[Remedy] = []
    for change in _changes(shape, choices, device):
        memory = plan_memory(shape, change.choices, device)
        if memory.total < 0.99 * now:
            found.append(Remedy(change.flags, change.costs, memory, memory.total <= device.memory))
    if not any(remedy.fits for remedy in found):
        found += _together(shape, choices, device)
    return found


def _together(shape: ModelShape, choices: Choices, device: Device) -> Iterator[Remedy]:
    """Add one change to the other until it fits."""
    flags: list[str] = []
    least = plan_memory(shape, choices, device).total
    for make in _ORDER:
        change = next(iter(make(shape, choices, device)), None)
        if change is None:
            continue
        memory = plan_memory(shape, change.choices, device)
        if memory.total >= 0.99 * least:
            continue
        choices, least = change.choices, memory.total
        flags.append(change.flags)
        fits = memory.total <= device.memory
        if len(flags) > 1:
            yield Remedy(" ".join(flags), "all of these", memory, fits, together=True)
        if fits:
            return


def _changes(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    for make in _ORDER:
        yield from make(shape, choices, device)


def _precomputed(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if choices.reference == "copy" and choices.rollout is None:
        yield _Change(
            "--precompute_ref_log_probs true",
            "nothing in the steps; the reference is loaded once before them",
            replace(choices, reference="precomputed"),
        )


def _checkpointing(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if not choices.checkpointing:
        yield _Change(
            "--gradient_checkpointing true",
            "a third more work",
            replace(choices, checkpointing=True),
        )


def _smaller(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    rows = len(choices.trees)
    if rows > 1:
        yield _Change(
            f"--per_device_train_batch_size 1 --gradient_accumulation_steps "
            f"{choices.accumulation * rows}",
            "small batches are slower",
            replace(choices, trees=choices.trees[:1], accumulation=choices.accumulation * rows),
        )


def _rollouts(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if choices.rollout is not None and choices.rollout.sequences > 8:
        fewer = max(choices.rollout.sequences // 4, 8)
        yield _Change(
            f"--rollout_batch_size {fewer}",
            "replies take longer to write",
            replace(choices, rollout=replace(choices.rollout, sequences=fewer)),
        )


def _lora(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if choices.full and choices.adapted:
        reference = "adapters" if choices.reference == "copy" else choices.reference
        yield _Change(
            "--tuner_type lora",
            "adapters train, not the weights",
            replace(choices, full=False, reference=reference),
        )


def _four_bits(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    four: Quantisation = quantisation("nf4", 4, None)
    if choices.quantisation is not None and choices.quantisation.bytes <= four.bytes:
        return
    smaller = replace(choices, quantisation=four)
    flags = "--quant_method nf4"
    if not choices.full:
        yield _Change(flags, "rounded weights, unpacked as they run", smaller)


def _sharded(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if choices.sharding != "none" or device.host:
        return
    for count in _DEVICES:
        if count < choices.processes:
            continue
        shared = replace(choices, processes=count, sharding="fsdp2")
        last = count == _DEVICES[-1]
        if last or plan_memory(shape, shared, device).total <= device.memory:
            yield _Change(
                f"--fsdp fsdp2 with {count} processes",
                f"{count} devices, which exchange weights in every pass",
                shared,
            )
            return


def _offloaded(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if not device.host and not choices.offload:
        count = max(choices.processes, 1)
        yield _Change(
            "--deepspeed zero3_offload",
            "weights and optimizer cross to the host in every step",
            replace(choices, processes=count, sharding="zero3", offload=True),
        )


def _activations_on_host(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    if not device.host and not choices.offload_activations:
        yield _Change(
            "--activation_cpu_offload true",
            "what is kept crosses to the host and back",
            replace(choices, offload_activations=True),
        )


def _shorter(shape: ModelShape, choices: Choices, device: Device) -> Iterator[_Change]:
    longest = max((tree.longest for tree in choices.trees), default=0)
    if longest >= 512:
        half = longest // 2
        flag = "--max_completion_length" if choices.rollout is not None else "--max_length"
        yield _Change(
            f"{flag} {half}",
            "longer rows are cut or left out (--truncation_strategy)",
            choices.shortened(half),
        )


_ORDER: tuple[Callable[[ModelShape, Choices, Device], Iterator[_Change]], ...] = (
    _checkpointing,
    _precomputed,
    _smaller,
    _rollouts,
    _lora,
    _four_bits,
    _sharded,
    _offloaded,
    _activations_on_host,
    _shorter,
)
"""Cheapest first."""
