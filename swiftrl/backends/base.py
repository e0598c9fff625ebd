"""What a kind of hardware is: a few constants, what it can do, and torch's device module."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from swiftrl.core.errors import BackendError

if TYPE_CHECKING:
    from swiftrl.backends.kernels import Kernels

__all__ = ["Backend", "Capabilities", "Check", "Memory", "Role"]

Role = Literal["train", "rollout"]
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the hardware and its libraries can do. Asked when settings are read.

    Attributes:
        bf16: computes in bfloat16.
        fp16: computes in float16 fast enough to train with.
        fp8: has 8-bit floating-point products.
        float64: has double precision on the device.
        complex: has complex numbers on the device.
        fused_adamw: torch.optim.AdamW(fused=True) works.
        grouped_mm: PyTorch's grouped matrix product runs, for mixtures of experts.
        compile: torch.compile is worth turning on by default.
        attention: implementations transformers may use, best first.
        quant_load: quantised weights that can be trained on or served.
        quant_export: formats whose export can run here.
        liger: Liger's Triton kernels run.
        bnb: bitsandbytes runs.
    """

    bf16: bool = True
    fp16: bool = True
    fp8: bool = False
    float64: bool = True
    complex: bool = True
    fused_adamw: bool = True
    grouped_mm: bool = False
    compile: bool = False
    attention: tuple[str, ...] = ("sdpa", "eager")
    quant_load: tuple[str, ...] = ()
    quant_export: tuple[str, ...] = ()
    liger: bool = False
    bnb: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one device, in bytes."""

    free: int
    total: int
    allocated: int
    peak: int


@dataclass(frozen=True, slots=True)
class Check:
    """One row of `swiftrl env`.

    Attributes:
        name: what was looked at.
        found: what is there.
        expected: what the package needs; empty where anything goes.
        todo: what to do about it; empty if nothing.
        ok: whether `found` will do.
    """

    name: str
    found: str
    expected: str = ""
    todo: str = ""
    ok: bool = True


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
        capabilities: what it can do.
        environment: variables set, where unset, before the device is touched, by role.
    """

    name: str
    device_type: str
    dist_backend: str
    visible_env: str | None = None
    ray_resource: str | None = None
    start_method: Literal["fork", "spawn"] = "spawn"
    capabilities: Capabilities = Capabilities()
    environment: Mapping[Role, Mapping[str, str]] = field(default_factory=dict)

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
        able = {
            "bfloat16": self.capabilities.bf16,
            "float16": self.capabilities.fp16,
            "float32": True,
        }
        if requested is None:
            return "bfloat16" if self.capabilities.bf16 else "float32"
        if not able.get(requested, False):
            usable = ", ".join(name for name, works in able.items() if works)
            raise BackendError(
                f"--torch_dtype {requested}: {self.name} cannot train in it. Use one of: {usable}."
            )
        return requested

    def kernels(self) -> Kernels:
        """Return the fused kernels that this hardware has of its own."""
        from swiftrl.backends.kernels import Kernels

        return Kernels(source=self.name)

    def doctor(self) -> list[Check]:
        """Return what `swiftrl env` reports about this hardware in particular."""
        rows = [Check("devices", f"{self.count()} x {self.describe()}")]
        for index in range(self.count()):
            memory = self.mem_info(index)
            found = f"{memory.free / _GIB:.1f} GiB free of {memory.total / _GIB:.1f} GiB"
            rows.append(Check(f"memory of {self.device_type}:{index}", found))
        return rows

    def describe(self) -> str:
        """Return the model name of the device."""
        return self.module().get_device_name(0) if self.available() else "none"
