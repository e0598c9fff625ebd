"""Helpers of a run end when the run is killed with -9: nothing waits for them any more."""

import subprocess
import sys
import time

import psutil
import pytest

WORKER = """
import multiprocessing, sys, time
from swiftrl.core.lifeline import end_with_parent_process

def work():
    end_with_parent_process()
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    print("started", flush=True)
    time.sleep(600)
"""
SANDBOX = """
import threading, time
from swiftrl.rlhf.rewards.sandbox import Limits, run_program

program = "import time; time.sleep(600)"
threading.Thread(target=run_program, args=(program, "", Limits(time_s=300))).start()
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
@pytest.mark.parametrize("source", [WORKER, SANDBOX], ids=["worker", "sandbox"])
def test_ends_with_its_run(tmp_path, source):
    file = tmp_path / "run.py"
    file.write_text(source)
    run = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE)
    try:
        assert run.stdout.readline() == b"started\n"
        family = wait_for_child(psutil.Process(run.pid), source)
        run.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
        for process in alive:
            process.kill()
        assert not alive
    finally:
        run.kill()
        run.wait()
        run.stdout.close()


def wait_for_child(run: psutil.Process, source: str) -> list[psutil.Process]:
    """Return what the run has started once it does its work, and no longer starts itself."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = run.children(recursive=True)
        words = [" ".join(child.cmdline()) for child in children]
        wanted = "spawn_main" if source is WORKER else "program.py"
        ready = any(wanted in line and "sandbox_child" not in line for line in words)
        if ready:
            time.sleep(3)  # the worker imports before it asks to end with its parent
            return children
        time.sleep(0.05)
    raise AssertionError("nothing was started")
