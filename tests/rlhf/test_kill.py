"""A run killed with -9 at random moments and resumed equals an uninterrupted one, bit for bit."""

import contextlib
import multiprocessing
import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import Setup, environment, lines_of, program, run_all

from swiftrl.rlhf.checkpoint import list_checkpoints

STEPS = 30


def setup_of(folder, **changes):
    train = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": STEPS,
        "save_steps": 1,
        "save_total_limit": 3,
        "eval_steps": 4,
        "logging_steps": 3,
        "early_stop_interval": 99,
    }
    weights = str(folder.with_suffix(".safetensors"))
    setup = Setup(train=train, num_rows=30, num_held_out=3, dropout=0.1, weights=weights)
    return replace(setup, **changes)


@pytest.fixture
def start(monkeypatch):
    """Return a function that starts a run in processes of its own.

    Single processes are forked from one that has imported everything, which saves seconds each.
    """
    path = f"{os.path.dirname(__file__)}{os.pathsep}{environment()['PYTHONPATH']}"
    monkeypatch.setenv("PYTHONPATH", path)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tiny_run"])

    def started(setup, processes):
        if processes == 1:
            run = server.Process(target=run_all, args=([setup],))
            run.start()
            return Run(run.pid, run.join, lambda: run.exitcode)
        launcher = subprocess.Popen(program([setup], processes=processes), env=environment())
        return Run(launcher.pid, lambda limit_s: launcher.wait(limit_s), launcher.poll)

    return started


@dataclass
class Run:
    """A started run: its process, a function that waits, one that returns the exit code."""

    pid: int
    wait: Callable[[float], object]
    poll: Callable[[], int | None]

    def kill(self):
        # A launcher's workers stand in sessions of their own and would outlive it.
        main = psutil.Process(self.pid)
        family = [main, *main.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family[1:], timeout=30)
        self.wait(30)


def newest(folder):
    return max((step for step, _ in list_checkpoints(folder)), default=0)


def run_with_kills(start, setup, folder, kills, processes, draw):
    """Run to the end, killed `kills` times on the way; return after which steps."""
    killed = []
    while True:
        done_before = newest(folder)
        if done_before:
            setup.train["resume_from_checkpoint"] = str(folder)
        run = start(setup, processes)
        try:
            if len(killed) == kills:
                run.wait(240)
                assert run.poll() == 0
                return killed
            # Spread over the run; at least one checkpoint further than last time.
            target = max(done_before + 1, (len(killed) + 1) * STEPS // (kills + 2))
            end = time.monotonic() + 120
            while newest(folder) < target and run.poll() is None:
                assert time.monotonic() < end, "no progress"
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.15))
        finally:
            if run.poll() is None:
                run.kill()
        killed.append(newest(folder))


@pytest.mark.parametrize(
    ("kills", "processes", "changes"),
    [
        (3, 1, {}),
        pytest.param(10, 1, {}, marks=pytest.mark.slow),
        pytest.param(3, 1, {"options": {"loss_type": ["bco_pair"]}}, marks=pytest.mark.slow),
        pytest.param(3, 1, {"lora": False, "algorithm": "sft"}, marks=pytest.mark.slow),
        pytest.param(3, 2, {}, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_is_uninterrupted(tmp_path, start, kills, processes, changes):
    whole = start(setup_of(tmp_path / "whole", **changes), processes)
    whole.wait(240)
    assert whole.poll() == 0

    folder = tmp_path / "killed"
    setup = setup_of(folder, **changes)
    killed = run_with_kills(start, setup, folder, kills, processes, random.Random(kills))
    assert len(killed) == kills and killed[0] < STEPS
    expected = load_file(tmp_path / "whole.safetensors")
    ours = load_file(tmp_path / "killed.safetensors")
    for name, value in expected.items():
        assert torch.equal(ours[name], value), (name, killed)
    measured = {"tokens_per_s", "samples_per_s", "elapsed_s"}
    lines = [
        [{k: v for k, v in line.items() if k not in measured} for line in lines_of(each)]
        for each in (tmp_path / "whole", folder)
    ]
    assert lines[0] == lines[1], killed
    assert not list(folder.glob(".checkpoint-*.tmp-*"))
