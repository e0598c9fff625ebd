"""Several processes by torchrun's variables: how many, where, and two "machines" on this one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from swiftrl.backends.base import Backend
from swiftrl.cli.launch import processes_here
from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError


class Two(Backend):
    def count(self):
        return 2


CARDS = Two("cards", "cpu", "gloo", visible_env="CARDS_VISIBLE", ray_resource="CARD")
SHARED = Two("shared", "cpu", "gloo")


@pytest.mark.parametrize(
    ("backend", "asked", "expected"),
    [
        (CARDS, None, 1),
        (CARDS, "", 1),
        (CARDS, "2", 2),
        (CARDS, "auto", 2),
        (CARDS, "card", 2),
        (CARDS, "CARD", 2),
        (SHARED, "7", 7),  # any number of processes may share a processor
        (SHARED, "auto", 2),
    ],
)
def test_processes_of_a_machine(backend, asked, expected, monkeypatch):
    monkeypatch.delenv("NPROC_PER_NODE", raising=False)
    if asked is not None:
        monkeypatch.setenv("NPROC_PER_NODE", asked)
    assert processes_here(backend) == expected


def test_more_processes_than_devices_names_the_variables(monkeypatch):
    monkeypatch.setenv("NPROC_PER_NODE", "3")
    monkeypatch.delenv("CARDS_VISIBLE", raising=False)
    with pytest.raises(ConfigError, match=r"NPROC_PER_NODE=3: 2 of cards.* unset.*PER_NODE=2 or"):
        processes_here(CARDS)
    monkeypatch.setenv("CARDS_VISIBLE", "4,5")
    with pytest.raises(ConfigError, match="CARDS_VISIBLE=4,5"):
        processes_here(CARDS)


TRAIN = ["rlhf", "--model", "builtin:tiny-instruct", "--dataset", "builtin:preferences#16",
         "--use_cpu", "true", "--torch_dtype", "float32", "--max_steps", "2",
         "--gradient_accumulation_steps", "1", "--logging_steps", "1", "--lora_dropout", "0",
         "--learning_rate", "1e-3", "--save_strategy", "no", "--add_version", "false"]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NPROC_PER_NODE": "gpu"}, "NPROC_PER_NODE=gpu: expected a number, or auto for every"),
        ({"NPROC_PER_NODE": "0"}, "NPROC_PER_NODE=0"),
        ({"NNODES": "two"}, "NNODES=two: expected a number"),
        ({"NNODES": "2"}, "NNODES=2 without NODE_RANK: set it to 0 on the first machine"),
        ({"NNODES": "2", "NODE_RANK": "0"}, "NNODES=2 without MASTER_ADDR"),
        ({"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "127.0.0.1"}, "expected 0 to 1"),
    ],
)
def test_variables_that_do_not_fit(variables, said, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(TRAIN) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def started(output: Path, rows: int, **variables: str) -> subprocess.Popen:
    cache = output.parent / f"cache-{variables.get('NODE_RANK', 'one')}"
    words = [*TRAIN, "--output_dir", str(output), "--per_device_train_batch_size", str(rows)]
    words += ["--cache_dir", str(cache)]
    return subprocess.Popen(
        [sys.executable, "-m", "swiftrl", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(runs: list[subprocess.Popen]) -> None:
    try:
        for run in runs:
            _, err = run.communicate(timeout=300)
            assert run.returncode == 0, err
    finally:
        for run in runs:
            run.kill()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def test_two_machines_train_as_one_process(tmp_path):
    """Two launchers that only know each other's address: 2 x 4 rows a step equal 1 x 8."""
    meeting = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    both = tmp_path / "both"
    ended([started(both, 4, NODE_RANK=rank, **meeting) for rank in ("0", "1")])
    alone = tmp_path / "alone"
    ended([started(alone, 8)])
    assert losses(both) == pytest.approx(losses(alone), rel=1e-5)
    assert len(losses(both)) == 2


def test_torchrun_by_hand(tmp_path):
    """`torchrun -m swiftrl ...` sets what the launcher would have set."""
    words = [*TRAIN, "--output_dir", str(tmp_path / "out"), "--per_device_train_batch_size", "4"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
                "--standalone", "-m", "swiftrl"]  # fmt: skip
    done = subprocess.run(
        [*torchrun, *words, "--cache_dir", str(tmp_path / "cache")],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fsdp", "fsdp3"], "swiftrl: --fsdp fsdp3: expected fsdp2"),
        (["--learning_rate", "-1"], "swiftrl: --learning_rate"),
        (["--beta", "-1"], "swiftrl: --beta"),
    ],
)
def test_settings_that_do_not_fit_are_said_once_and_start_nothing(tmp_path, words, message):
    done = subprocess.run(
        [sys.executable, "-m", "swiftrl", *TRAIN, *words, "--output_dir", str(tmp_path / "out")],
        env=os.environ | {"NPROC_PER_NODE": "2"}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("swiftrl: ")]
    assert line.startswith(message)
    assert not (tmp_path / "out").exists()
