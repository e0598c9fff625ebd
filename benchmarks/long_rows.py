"""Memory of a DPO step on one long row, divided among processes by --sequence_parallel_size.

`python benchmarks/long_rows.py` starts the processes by itself and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from swiftrl.core.lifeline import run_as_rank

HERE = Path(__file__).resolve()
GIB = 2**30


def peak_bytes() -> int:
    """Largest resident memory of this process since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak() -> int:
    """Let the peak start anew; return what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def make_policy(checkpointing: bool) -> Any:
    """A random Qwen2-shaped model of 39.5M parameters in bfloat16, with LoRA of rank 8."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from swiftrl.rlhf.policy import Policy

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=65_536,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    lora = LoraConfig(r=8, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    policy = Policy(
        get_peft_model(model, lora),
        compute_dtype=torch.bfloat16,
        gradient_checkpointing=checkpointing,
    )
    policy.refer_to_itself()
    return policy


def pair_of(tokens: int) -> Any:
    """One pair: a prompt of three quarters of the tokens, and two replies of an eighth."""
    import numpy as np

    from swiftrl.data.batch import Tree, pack

    chance = np.random.default_rng(0)
    prompt, reply = tokens - 2 * (tokens // 8), tokens // 8
    ids = [chance.integers(1, 32_000, n).astype(np.int32) for n in (prompt, reply, reply)]
    weights = tuple(np.ones(reply, dtype=np.float32) for _ in range(2))
    return pack([Tree(ids[0], (ids[1], ids[2]), weights)])


def step(tokens: int, checkpointing: bool, output: Path) -> int:
    """Do one optimizer step in this process of a group; write what it took."""
    import torch

    from swiftrl.backends.detect import BACKENDS
    from swiftrl.rlhf.algorithm import ALGORITHMS
    from swiftrl.rlhf.config import TrainConfig
    from swiftrl.rlhf.distributed import Processes
    from swiftrl.rlhf.optim import LossScale
    from swiftrl.rlhf.order import MicroBatch
    from swiftrl.rlhf.parallel.replicated import Replicated
    from swiftrl.rlhf.stepping import Stepper
    from swiftrl.rlhf.steps import Passes

    torch.set_num_threads(1)
    size = int(os.environ["WORLD_SIZE"])
    processes = Processes.start(BACKENDS.get("cpu"), timeout_s=3600).in_groups(size)
    policy = make_policy(checkpointing)
    policy.share_tokens(processes.sequence)
    kind = ALGORITHMS.get("dpo")
    passes = Passes(policy, kind(kind.Config()), processes, seed=0)
    trained = Replicated(processes).train(policy.model, TrainConfig(), fused=False)
    stepper = Stepper(passes, trained, LossScale(torch.bfloat16), max_norm=1.0)
    before = forget_peak()
    began = os.times()
    outcome = stepper.step([MicroBatch(pair_of(tokens), 0, ("row",))], rate=1e-4)
    ended = os.times()
    found = {
        "rank": processes.rank,
        "before": before,
        "peak": peak_bytes(),
        "cpu_s": ended.user + ended.system - began.user - began.system,
        "norm": outcome.norm,
    }
    (output / f"{processes.rank}.json").write_text(json.dumps(found))
    processes.leave()
    return 0


def measured(tokens: int, size: int, checkpointing: bool) -> list[dict[str, float]]:
    """Run a step in `size` processes; return what each wrote."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={size}"]
        own = [str(HERE), "--tokens", str(tokens), "--output", folder]
        flags = ["--checkpointing"] if checkpointing else []
        root = str(HERE.parent.parent)
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
        subprocess.run([sys.executable, *words, *own, *flags], check=True, env=variables)
        return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192, 16_384])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--output", type=Path, help="of a process that this program starts")
    options = parser.parse_args()
    if options.output is not None:
        run_as_rank(lambda: step(options.tokens[0], options.checkpointing, options.output))
    print(
        "| tokens | processes | step, GiB each | of one | GiB each | CPU s each | gradient norm |"
    )
    print("|---|---|---|---|---|---|---|")
    for tokens in options.tokens:
        alone = None
        for size in options.sizes:
            ranks = measured(tokens, size, options.checkpointing)
            step_gib = max(rank["peak"] - rank["before"] for rank in ranks) / GIB
            alone = alone or step_gib
            whole = max(rank["peak"] for rank in ranks) / GIB
            cpu = statistics.mean(rank["cpu_s"] for rank in ranks)
            print(
                f"| {tokens} | {size} | {step_gib:.2f} | {step_gib / alone:.0%} | {whole:.2f} | "
                f"{cpu:.0f} | {ranks[0]['norm']:.5f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
