"""What a process takes the others for: lost only if they ended without a word."""

import json
import os
import subprocess
import sys

import pytest
import torch.distributed as dist

from swiftrl.rlhf.joining import Member
from swiftrl.rlhf.peers import Peers


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def member(rank):
    return Member(rank, 2, 2, "127.0.0.1", 1, "here", agent_store=False)


def told(pid, stage, beat):
    return json.dumps({"host": "here", "pid": pid, "beat": beat, "stage": stage, "stage_s": 0.0,
                       "waits": False})  # fmt: skip


def test_one_that_ends_without_a_word_is_lost(ended):
    store = dist.HashStore()
    peers = Peers(member(0), store)
    store.set("at/1", told(ended, "step 3", 1))
    peers.read()
    assert [sight.lost for sight in peers.seen()] == [True]


def test_one_that_leaves_between_two_readings_is_not(ended):
    store = dist.HashStore()
    peers = Peers(member(0), store)
    store.set("at/1", told(os.getpid(), "step 3", 1))
    peers.read()
    assert [sight.state for sight in peers.seen()] == ["runs"]
    store.set("at/1", told(ended, "step 3", 2))
    peers.read()
    store.set("at/1", told(ended, "left", 3))  # said, and ended, after it was read
    assert [sight.state for sight in peers.seen()] == ["left"]
