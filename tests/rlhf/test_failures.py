"""A process that is lost, stalls or raises ends the whole run in time, by one message."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = "import sys; from swiftrl.cli.launch import run; sys.exit(run(sys.argv[1:]))"
CHILD = str(Path(__file__).with_name("failing_process.py"))


class Launched:
    """A launcher and its processes, with what they wrote and how long they took to end."""

    def __init__(self, folder, told, **variables):
        self.folder = folder
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables
        told = {"folder": str(folder)} | told
        with (folder / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, sys.executable, CHILD, json.dumps(told)],
                env=environment, stdout=out, stderr=out,
            )  # fmt: skip
        self.family = []

    def wait_for_step(self):
        """Return the process that has come to where it fails."""
        until = time.monotonic() + 60
        now = self.folder / "now"
        while not (now.is_file() and now.read_text()):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until
            time.sleep(0.02)
        launcher = psutil.Process(self.process.pid)
        self.family = [launcher, *launcher.children(recursive=True)]
        return psutil.Process(int(now.read_text()))

    def end(self, limit_s):
        """Wait; return the exit code and check that nothing is left over."""
        try:
            code = self.process.wait(limit_s)
            _, alive = psutil.wait_procs(self.family, timeout=5)
            assert not alive, alive
            return code
        finally:
            for process in self.family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.kill()

    @property
    def said(self):
        return (self.folder / "out.txt").read_text()

    @property
    def messages(self):
        return [line for line in self.said.splitlines() if line.startswith("swiftrl: ")]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process(tmp_path, rank):
    run = Launched(tmp_path, {"rank": rank, "step": 9, "way": "sleep"}, NPROC_PER_NODE="2")
    lost = run.wait_for_step()
    time.sleep(1.0)
    lost.kill()
    assert run.end(10) == 1
    (message,) = run.messages
    assert message.startswith("swiftrl: the gradient sum of step 9: a process of this run was lost")
    assert f"rank {rank} (process {lost.pid} on " in message
    assert "in reading the rows of step 9" in message
    assert str(tmp_path / "stacks") in message
    assert "failing_process.py" in stacks(tmp_path, 1 - rank)


def stacks(folder, rank):
    return (folder / "stacks" / f"rank-{rank}.txt").read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_process(tmp_path, rank):
    run = Launched(tmp_path, {"rank": rank, "step": 5, "way": "sleep"}, NPROC_PER_NODE="2")
    stopped = run.wait_for_step()
    time.sleep(1.0)
    stopped.send_signal(signal.SIGSTOP)
    assert run.end(20) == 1
    (message,) = run.messages
    assert "no answer from the other processes of this run within 2 s (--ddp_timeout)" in message
    assert f"rank {rank} (process {stopped.pid} on " in message and "SIGSTOP" in message
    # Its own thread could not write them; the launcher asked by a signal.
    assert "failing_process.py" in stacks(tmp_path, rank)
    assert "all_reduce" in stacks(tmp_path, 1 - rank)


def test_a_process_that_sleeps(tmp_path):
    run = Launched(tmp_path, {"rank": 1, "step": 5, "way": "child"}, NPROC_PER_NODE="3")
    sleeping = run.wait_for_step()
    assert run.end(15) == 1
    (message,) = run.messages
    assert message.startswith("swiftrl: the gradient sum of step 5: no answer")
    assert f"rank 1 (process {sleeping.pid} on " in message
    assert "rank 0" not in message and "rank 2" not in message
    assert "in fail" in stacks(tmp_path, 1)


@pytest.mark.parametrize(("way", "code"), [("raise", 2), ("bug", 1)])
def test_a_process_that_raises(tmp_path, way, code):
    run = Launched(tmp_path, {"rank": 1, "step": 5, "way": way}, NPROC_PER_NODE="2")
    assert run.end(60) == code
    (message,) = run.messages
    if way == "raise":
        assert message.startswith("swiftrl: rows.jsonl:7: no reply.")
    else:
        assert "KeyError" in message and run.said.count("Traceback") == 1
    assert "rank 1 of 2, reading the rows of step 5" in message


def test_a_launcher_that_is_killed_takes_its_processes_along(tmp_path):
    run = Launched(tmp_path, {"rank": 1, "step": 2, "way": "sleep"}, NPROC_PER_NODE="2")
    run.wait_for_step()
    run.process.kill()
    run.end(5)


def test_an_unharmed_run_leaves_no_stacks(tmp_path):
    run = Launched(tmp_path, {"steps": 3}, NPROC_PER_NODE="2")
    assert run.end(60) == 0
    # gloo of torch 2.10 says that it is connected.
    said = [line for line in run.said.splitlines() if not line.startswith("[Gloo]")]
    assert said == [] and not (tmp_path / "stacks").exists()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_taken_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        run = Launched(tmp_path, {}, NPROC_PER_NODE="2", MASTER_PORT=port)
        assert run.end(20) != 0
    assert f"port {port} of this machine cannot be had" in run.said


def nodes(tmp_path, told, *each):
    port = str(free_port())
    runs = []
    for number, variables in enumerate(each):
        folder = tmp_path / str(number)
        folder.mkdir()
        meeting = {"NODE_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        runs.append(Launched(folder, told, **(meeting | variables)))
    return runs


def test_nodes_that_disagree(tmp_path):
    runs = nodes(tmp_path, {}, {"NNODES": "2"}, {"NNODES": "2", "NPROC_PER_NODE": "2"})
    assert [run.end(60) for run in runs] == [1, 1]
    (message,) = [message for run in runs for message in run.messages]
    assert "4 (2 on a node)" in message and "2 (1 on a node)" in message


def test_two_nodes_with_one_number(tmp_path):
    same = {"NNODES": "3", "NODE_RANK": "1"}
    runs = nodes(tmp_path, {}, same | {"NODE_RANK": "0"}, same, same)
    assert [run.end(60) for run in runs] == [1, 1, 1]
    (message,) = [message for run in runs for message in run.messages]
    assert "two processes of rank 1" in message


def test_a_node_that_never_comes(tmp_path):
    (run,) = nodes(tmp_path, {"start_timeout_s": 2}, {"NNODES": "2", "NPROC_PER_NODE": "2"})
    assert run.end(60) == 1
    (message,) = run.messages
    assert "2 of 4 processes did not come within 2 s (--ddp_start_timeout): rank 2, 3" in message


def test_two_nodes_train_and_one_is_lost(tmp_path):
    told = {"rank": 1, "step": 20, "way": "sleep"}
    runs = nodes(tmp_path, told, {"NNODES": "2"}, {"NNODES": "2"})
    lost = runs[1].wait_for_step()
    lost.kill()
    assert runs[0].end(20) == 1
    assert runs[1].end(20) != 0
    assert len(runs[0].messages) == 1 and "rank 1" in runs[0].said
