"""Two processes hold half of the weights, gradients and optimizer state each.

python test_memory.py [fsdp2]: what this process holds after a step, a line of JSON.
"""

import json
import subprocess
import sys

import pytest
import torch
from tiny_run import environment, tiny_model

from swiftrl.backends.detect import BACKENDS
from swiftrl.core.lifeline import run_as_rank
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.layout import probe_batch
from swiftrl.rlhf.parallel.choose import choose_parallel
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.policy import Policy


def held_bytes(tensors):
    local = (getattr(tensor, "_local_tensor", tensor) for tensor in tensors)
    storages = [tensor.untyped_storage() for tensor in local]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def step(fsdp):
    """Make one step from a model whose values only the main process has; return what is held."""
    backend = BACKENDS.get("cpu")
    processes = Processes.start(backend, timeout_s=60)
    parallel = choose_parallel(ParallelConfig(fsdp=fsdp), processes, backend, torch.bfloat16)
    model = tiny_model(lora=False)
    if parallel.place == "nowhere":
        model = model.to("meta")
        model.tie_weights()
    policy = Policy(model, compute_dtype=torch.bfloat16, parallel=parallel, probe=False)
    trained = parallel.train(policy.model, TrainConfig(), fused=True)
    trained.backward(policy.logprobs(probe_batch(128)).logps.sum(), last=True)
    gradients = held_bytes(p.grad for p in policy.model.parameters())
    trained.step(1.0, rate=1e-2, max_norm=1.0, update=True)
    state = [value for slots in trained.optimizer.state.values() for value in slots.values()]
    found = {
        "weights": held_bytes(policy.model.parameters()),
        "gradients": gradients,
        "optimizer": held_bytes(value for value in state if value.dim()),
        "sum": float(sum(w.double().abs().sum() for w in trained.weights().values())),
    }
    processes.leave()
    return processes.rank, found


def in_two_processes(*words):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environ = environment()
    environ["PYTHONPATH"] += f":{sys.path[0]}:" + ":".join(sys.path)
    done = subprocess.run(
        [*command, __file__, *words],
        env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return dict(json.loads(line) for line in lines)


def test_each_process_holds_half():
    whole, halves = in_two_processes(), in_two_processes("fsdp2")
    for name in ("weights", "gradients", "optimizer"):
        assert whole[0][name] == whole[1][name]
        for rank in (0, 1):
            assert halves[rank][name] == pytest.approx(whole[rank][name] / 2, rel=0.02), name
    assert halves[0]["sum"] == pytest.approx(whole[0]["sum"], rel=1e-3)


def main():
    torch.set_num_threads(1)
    print(json.dumps(step(sys.argv[1] if len(sys.argv) > 1 else None)), flush=True)
    return 0


if __name__ == "__main__":
    run_as_rank(main)
