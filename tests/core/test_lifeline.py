"""Helpers of a run end when it is killed with -9; its own processes end without a teardown."""

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
from swiftrl.checking.sandbox import Limits, run_program

program = "import time; time.sleep(600)"
threading.Thread(target=run_program, args=(program, "", Limits(time_s=300))).start()
print("started", flush=True)
time.sleep(600)
"""

RANK = """
import atexit, sys, threading, time
from swiftrl.core.lifeline import run_as_rank

class TornDown:
    def __del__(self):
        print("torn down", flush=True)

kept = TornDown()

def late():
    time.sleep(0.2)
    print("thread")

def main():
    atexit.register(print, "exit function")
    threading.Thread(target=late).start()
    print("main")
    ENDING

run_as_rank(main)
"""


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("raise KeyError('lost')", 1, "KeyError: 'lost'"),
        ("sys.exit(5)", 5, ""),
    ],
)
def test_a_rank_ends_without_a_teardown_and_with_all_else(ending, code, said):
    done = subprocess.run(
        [sys.executable, "-c", RANK.replace("ENDING", ending)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert done.stdout.split("\n") == ["main", "thread", "exit function", ""]
    assert said in done.stderr


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
