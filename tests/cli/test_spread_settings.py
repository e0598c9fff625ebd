"""--device_map: what is refused before anything is loaded. Runs over devices: tests/ascend."""

import pytest

from swiftrl.cli.main import main

RUN = ["rlhf", "--model", "builtin:tiny-instruct", "--dataset", "builtin:preferences#4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_memory", '{"0": "1GiB"}'], "--max_memory is for --device_map"),
        (["--device_map", "auto", "--max_memory", '{"a": "1GiB"}'], "'a' is no device"),
        (["--device_map", "auto", "--fsdp", "fsdp2"], "--device_map auto and --fsdp: give one"),
        (["--device_map", "auto", "--torch_compile", "true"], "--torch_compile true: layers that"),
    ],
)
def test_settings_that_do_not_go_together(words, message, tmp_path, capsys):
    assert main([*RUN, "--output_dir", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_several_processes_cannot_spread(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main([*RUN, "--output_dir", str(tmp_path), "--device_map", "auto"]) == 2
    assert "the devices of a single process, and this run has several" in capsys.readouterr().err


def test_one_device_is_no_spread(tmp_path):
    words = ["--device_map", "auto", "--max_steps", "1", "--per_device_train_batch_size", "2"]
    assert main([*RUN, "--output_dir", str(tmp_path), "--use_cpu", "true", *words]) == 0


def test_plans_do_not_spread(capsys):
    words = ["plan", "rlhf", "--model", "builtin:tiny-instruct", "--device_map", "auto"]
    assert main([*words, "--dataset", "builtin:preferences#4"]) == 2
    assert "--device_map: plans are of one device" in capsys.readouterr().err
