"""A program of two ranks: HCCL's limits; DDP and FSDP2 end with one process's weights."""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from swiftrl.core.lifeline import run_as_rank

rank = int(os.environ["RANK"])


def exchange(device: torch.device) -> None:
    x = torch.ones(4, device=device) * (rank + 1)
    dist.all_reduce(x, op=dist.ReduceOp.AVG)
    assert x.cpu().tolist() == [1.5] * 4
    on_host = torch.ones(1, dtype=torch.float64)
    dist.all_reduce(on_host)  # gloo
    assert on_host.item() == 2
    whole = torch.ones(4, 4, device=device)
    for refused in (torch.empty(1, device=device, dtype=torch.float64), whole.t()[1:3]):
        try:
            dist.all_reduce(refused)
        except RuntimeError:
            continue
        raise SystemExit(f"accepted {refused.dtype}, contiguous {refused.is_contiguous()}")
    seen = [None, None]
    dist.all_gather_object(seen, rank)
    assert seen == [0, 1]


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))


def train(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x).float(), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return model


def main() -> int:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    device = torch.device("npu", rank)
    dist.init_process_group("cpu:gloo,npu:hccl")
    exchange(device)
    torch.manual_seed(1)
    x, y = torch.randn(4, 8), torch.randn(4, 4)
    mine = [values[rank * 2 : rank * 2 + 2].to(device) for values in (x, y)]
    one = train(make_model(), x, y)
    ddp = train(DistributedDataParallel(make_model().to(device), device_ids=[rank]), *mine)
    mesh = init_device_mesh("npu", (2,))
    sharded = make_model().to(device)
    fully_shard(sharded, mesh=mesh)
    train(sharded, *mine)
    for a, b, c in zip(one.parameters(), ddp.parameters(), sharded.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a, c.full_tensor().cpu(), rtol=1e-4, atol=1e-5)
    half = make_model().to(device)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    fully_shard(half, mesh=mesh, mp_policy=policy)
    train(half, *mine)
    dist.barrier()
    if rank == 0:
        print("equal")
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    run_as_rank(main)
