"""What a kind of hardware is: a few constants, what it can do, and torch's device module."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from swiftrl.backends.capabilities import Capabilities, Chip
from swiftrl.backends.check import Check
from swiftrl.backends.requirements import Problem, problems
from swiftrl.core.errors import BackendError

if TYPE_CHECKING:
    from swiftrl.backends.kernels import Kernels

__all__ = ["Backend", "Memory", "Role"]

Role = Literal["train", "rollout"]
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one device, in bytes."""

    free: int
    total: int
    allocated: int
    peak: int


@dataclass(frozen=True)
class Backend:
    """A kind of hardware; `backends/hardware/*.py` hold one each.

    The methods are generic over `torch.get_device_module`; hardware overrides what differs.

    Attributes:
        name: key in the registry, e.g. "ascend".
        device_type: torch's name of the device, e.g. "npu".
        dist_backend: for torch.distributed.init_process_group.
        visible_env: variable that limits which devices a process sees; None if there is none.
        ray_resource: what ray calls one device; None for CPU cores.
        start_method: how worker processes may start once the device is in use.
        chips: its generations, where they differ in what they can do; the first is assumed where
            none is at hand.
        environment: variables set, where unset, before the device is touched, by role.
    """

    name: str
    device_type: str
    dist_backend: str
    visible_env: str | None = None
    ray_resource: str | None = None
    start_method: Literal["fork", "spawn"] = "spawn"
    chips: tuple[Chip, ...] = (Chip("any"),)
    environment: Mapping[Role, Mapping[str, str]] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        """What the chip of this process can do."""
        return self.chip().capabilities

    def chip(self) -> Chip:
        """Return which of `chips` this process has."""
        return self.chips[0]

    def module(self) -> ModuleType:
        """Return torch's module of this device."""
        import torch

        return torch.get_device_module(self.device_type)

    def available(self) -> bool:
        """Return whether a device can be used in this process."""
        import torch

        module = getattr(torch, self.device_type, None)
        return bool(module is not None and module.is_available())

    def count(self) -> int:
        """Return the number of visible devices."""
        return self.module().device_count() if self.available() else 0

    def device(self, index: int = 0):
        """Return the torch.device number `index`."""
        import torch

        return torch.device(self.device_type, index)

    def set_device(self, index: int) -> None:
        """Bind this process to one device; called once, before anything is allocated.

        Raises:
            BackendError: there is no such device.
        """
        if index >= self.count():
            visible = f" ({self.visible_env} decides which are seen)" if self.visible_env else ""
            raise BackendError(
                f"this process is number {index} on its machine but {self.count()} {self.name} "
                f"device(s) are visible{visible}. Start as many processes as there are devices."
            )
        self.module().set_device(index)

    def current_device(self):
        """Return the torch.device this process is bound to."""
        module = self.module()
        return self.device(module.current_device() if hasattr(module, "current_device") else 0)

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        self.module().synchronize()

    def empty_cache(self) -> None:
        """Give cached device memory back."""
        self.module().empty_cache()

    def mem_info(self, index: int = 0) -> Memory:
        """Return the memory of a device."""
        module = self.module()
        free, total = module.mem_get_info(index)
        return Memory(
            free, total, module.memory_allocated(index), module.max_memory_allocated(index)
        )

    def seed_all(self, seed: int) -> None:
        """Seed Python, NumPy and torch on every device."""
        import numpy
        import torch

        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)

    def default_env(self, role: Role, env: MutableMapping[str, str] | None = None) -> list[str]:
        """Set the variables this hardware wants for `role` where they are unset.

        Returns:
            the names that were set.
        """
        env = os.environ if env is None else env
        wanted = {k: v for k, v in self.environment.get(role, {}).items() if k not in env}
        env.update(wanted)
        return sorted(wanted)

    def compute_dtype(self, requested: str | None = None) -> str:
        """Return the type to compute in: the one asked for, else bfloat16 where it works.

        Raises:
            BackendError: the hardware lacks it.
        """
        if requested is None:
            return "bfloat16" if self.capabilities.bf16 else "float32"
        self.refuse({"torch_dtype": requested})
        return requested

    def kernels(self, *, liger: bool = False) -> Kernels:
        """Return the fused kernels that this hardware has of its own.

        Args:
            liger: with Liger's, where `Capabilities.liger` says that they run.

        Raises:
            ConfigError: they are not installed.
        """
        from swiftrl.backends.kernels import Kernels

        return Kernels(source=self.name)

    def problems(self, values: Mapping[str, Any]) -> list[Problem]:
        """Return which of these settings need what this hardware lacks.

        Args:
            values: settings by name, e.g. `Settings.as_dict()`.
        """
        chip = self.chip()
        return list(problems(values, chip.capabilities, backend=self.name, chip=chip.name))

    def refuse(self, values: Mapping[str, Any]) -> None:
        """Refuse settings that need what this hardware lacks.

        Raises:
            BackendError: it names each of them, why, and what to do instead.
        """
        found = self.problems(values)
        if found:
            raise BackendError("\n  ".join(map(str, found)))

    def unusable(self) -> Check | None:
        """Return what is wrong if this hardware seems to be wanted here and will not do."""
        return None

    def doctor(self) -> list[Check]:
        """Return what `swiftrl env` reports about this hardware in particular."""
        rows = [Check("devices", f"{self.count()} x {self.describe()} ({self.chip().name})")]
        for index in range(self.count()):
            memory = self.mem_info(index)
            found = f"{memory.free / _GIB:.1f} GiB free of {memory.total / _GIB:.1f} GiB"
            rows.append(Check(f"memory of {self.device_type}:{index}", found))
        return [*rows, *self._collectives()]

    def _collectives(self) -> list[Check]:
        import torch.distributed as dist

        rows = []
        for part in self.dist_backend.split(","):
            name = part.rpartition(":")[2]
            there = dist.is_available() and dist.is_backend_available(name)
            todo = "" if there else "install a build of torch that has it; one process needs none"
            rows.append(
                Check(f"collectives: {name}", "there" if there else "absent", todo=todo, ok=there)
            )
        return rows

    def describe(self) -> str:
        """Return the model name of the device."""
        return self.module().get_device_name(0) if self.available() else "none"
