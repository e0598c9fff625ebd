"""`swiftrl env`, and every other command, on machines where something is wrong."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import swiftrl
from swiftrl.backends import cann, nvidia
from swiftrl.backends.check import first_line_of, torch_build
from swiftrl.cli import doctor
from swiftrl.cli.main import main

ROOT = str(Path(swiftrl.__file__).parents[1])
TORCH = torch.__version__.split("+")[0]
NO_LIBRARY = "ImportError('libascendcl.so: cannot open shared object file: No such file')"


def extension(folder: Path, *, body: str, version: str, name: str = "torch_npu") -> Path:
    """Put a package with an entry point "torch.backends" into a folder."""
    (folder / f"{name}.py").write_text(body)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[torch.backends]\n{name} = {name}:_autoload\n")
    return folder


def swiftrl_with(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ASCEND_")}
    environment = clean | {"PYTHONPATH": os.pathsep.join([str(folder), ROOT])} | variables
    return subprocess.run(
        [sys.executable, "-m", "swiftrl", *words],
        env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def no_cann(tmp_path):
    return extension(tmp_path, body=f"raise {NO_LIBRARY}\n", version=TORCH)


MODEL = ["--model", "builtin:tiny-instruct"]


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["rlhf", *MODEL, "--dataset", "builtin:preferences"], {}),
        (["rlhf", *MODEL, "--dataset", "builtin:preferences"], {"NPROC_PER_NODE": "2"}),
        (["rlhf", *MODEL, "--dataset", "x", "--load_in_4bit", "true"], {}),
        (["infer", *MODEL, "--prompt", "hi"], {}),
        (["template", *MODEL], {}),
        (["data", "check", "builtin:preferences", *MODEL], {}),
    ],
    ids=lambda value: "-".join(value)[:30],
)
def test_an_absent_cann_is_one_message_whatever_the_command(no_cann, words, variables):
    done = swiftrl_with(no_cann, *words, **variables)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"import torch fails in torch_npu {TORCH}: libascendcl.so: cannot open" in done.stderr
    assert "CANN is absent" in done.stderr
    assert "set_env.sh" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["models"], ["rlhf", "--help"]])
def test_what_needs_no_torch_works_without(no_cann, words):
    assert swiftrl_with(no_cann, *words).returncode == 0


def test_env_answers_where_torch_cannot_be_imported(no_cann):
    done = swiftrl_with(no_cann, "env", "--json")
    assert done.returncode == 1, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert "CANN is absent" in next(r["found"] for r in json.loads(done.stdout) if not r["ok"])
    assert not rows["CANN"]["ok"]
    assert "set_env.sh is not sourced" in rows["CANN"]["found"]
    assert rows["CANN"]["todo"]
    assert not rows["driver"]["ok"]
    assert rows["versions"]["found"].startswith(f"torch_npu {TORCH}, torch {TORCH}")
    assert rows["memory of this machine"]["ok"]


def test_a_torch_npu_of_another_torch(tmp_path):
    body = "raise ImportError('torch_npu/_C.so: undefined symbol: _ZN2at4_ops')\n"
    done = swiftrl_with(extension(tmp_path, body=body, version="2.9.0.post2"), "infer", *MODEL)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"made for torch 2.9, and torch is {torch.__version__}" in done.stderr
    assert "pip install torch" in done.stderr


def test_a_cann_that_lacks_a_library(tmp_path, no_cann):
    home = tmp_path / "cann-9.0.0"
    home.mkdir()
    done = swiftrl_with(no_cann, "infer", *MODEL, ASCEND_TOOLKIT_HOME=str(home))
    assert done.returncode == 2
    assert f"libascendcl.so is not in {home}" in done.stderr


def test_another_extension_of_torch(tmp_path):
    body = "def _autoload():\n    raise OSError('no such chip')\n"
    folder = extension(tmp_path, body=body, version="0.1", name="torch_abacus")
    done = swiftrl_with(folder, "infer", *MODEL)
    assert done.returncode == 2
    assert "import torch fails in torch_abacus 0.1: no such chip" in done.stderr
    assert "pip uninstall torch_abacus" in done.stderr


def test_a_wrong_torch_npu_that_loads_is_named_and_the_cpu_used(tmp_path):
    folder = extension(tmp_path, body="def _autoload():\n    pass\n", version="2.9.0")
    done = swiftrl_with(folder, "infer", *MODEL, "--prompt", "hi", "--max_new_tokens", "2")
    assert done.returncode == 0, done.stderr
    assert "running on cpu. torch_npu 2.9.0, torch" in done.stderr
    assert swiftrl_with(folder, "env").returncode == 1


def test_env_reports_versions_and_hardware(capsys):
    assert main(["env", "--json"]) == 0
    report = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    for name in ("torch", "transformers", "peft", "backend", "built-in models", "disk", "python"):
        assert report[name]["ok"]
    assert "builtin:tiny-instruct" in report["built-in models"]["found"]
    assert main(["env"]) == 0


def test_env_finds_a_port_that_is_taken(capsys, monkeypatch):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        assert main(["env"]) == 1
        assert f"{port}, taken" in capsys.readouterr().err
        monkeypatch.setenv("NODE_RANK", "1")  # the port is the first machine's
        assert main(["env"]) == 0
    monkeypatch.delenv("NODE_RANK")
    monkeypatch.setenv("MASTER_PORT", "http")
    assert main(["env"]) == 1


def test_env_finds_a_package_that_is_too_old(monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata, "requires", lambda name: ["torch>=99", "nothing>=1", "numpy<99"]
    )
    rows = doctor._packages()
    assert [row.ok for row in rows] == [False, False, True]
    assert rows[0].todo == "pip install 'torch>=99'"
    assert rows[1].found == "not installed"


@pytest.mark.parametrize(
    ("version", "bound", "expected"),
    [("2.10.0", "2.10", True), ("2.9.1", "2.10", False), ("2.13.0+cpu", "2.10", True)],
)
def test_versions_compare_as_numbers(version, bound, expected):
    assert doctor._satisfies(version, ">=", bound) == expected
    assert doctor._satisfies("5.24.0", "<", "6")


def test_published_rows():
    assert cann.pairing("2.10.0", "2.10.0.post4", "9.1.0").ok
    assert not cann.pairing("2.10.0", "2.10.0.post4", "9.1.0").todo
    assert cann.pairing("2.10.0", "2.10.0.post6", "9.1.1").todo == ""
    odd = cann.pairing("2.10.0", "2.10.0", "9.1.0")
    assert odd.ok and "not a published combination" in odd.todo
    wrong = cann.pairing("2.11.0", "2.10.0", "9.1.0")
    assert not wrong.ok and wrong.todo == "pip install torch_npu==2.11.0"
    newer = cann.pairing("2.13.0", None, None)
    assert not newer.ok and newer.todo == "pip install torch==2.10.0 torch_npu==2.10.0.post4"


def test_cann_is_read_from_the_files_of_its_installation(tmp_path):
    record = tmp_path / "aarch64-linux" / "ascend_toolkit_install.info"
    record.parent.mkdir()
    record.write_text("package_name=Ascend-cann-toolkit\nversion=9.1.0\narch=aarch64\n")
    assert cann.version(tmp_path) == "9.1.0"
    named = tmp_path / "cann-8.5.0"
    named.mkdir()
    assert cann.version(named) == "8.5.0"
    assert cann.version(tmp_path / "latest") is None
    assert cann.home({"ASCEND_TOOLKIT_HOME": "", "ASCEND_HOME_PATH": "/x"}) == Path("/x")


@pytest.mark.parametrize(
    ("driver", "build", "ok"),
    [("580.65.06", "13.0", True), ("535.54", "13.0", False), ("525", "12.8", True)],
)
def test_drivers_against_cuda(driver, build, ok, monkeypatch):
    monkeypatch.setattr(nvidia, "tool", lambda: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(nvidia, "driver_version", lambda: driver)
    monkeypatch.setattr(nvidia, "torch_build", lambda: ("2.13.0", build))
    assert nvidia.driver_check().ok == ok


def test_a_cpu_build_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(nvidia, "tool", lambda: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(nvidia, "driver_version", lambda: "580")
    monkeypatch.setattr(nvidia, "torch_build", lambda: ("2.13.0+cpu", None))
    check = nvidia.driver_check()
    assert not check.ok
    assert check.todo.endswith("torch==2.13.0")


def test_tools_that_fail_or_hang_are_no_trouble(tmp_path):
    assert first_line_of(["sh", "-c", "echo one; echo two"]) == "one"
    assert first_line_of(["sh", "-c", "exit 3"]) is None
    assert first_line_of(["sleep", "9"], timeout_s=0.1) is None
    assert first_line_of([str(tmp_path / "absent")]) is None


def test_torch_s_build_is_read_from_its_files():
    assert torch_build() == (torch.__version__, torch.version.cuda or torch.version.hip)
