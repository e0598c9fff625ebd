"""The command line as a user meets it: help in an instant, messages, exit codes."""

import subprocess
import sys

import pytest

from swiftrl.cli.command import COMMANDS, help_of
from swiftrl.cli.main import main
from swiftrl.core.config import options_of


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_overview_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in COMMANDS.names():
        assert name.replace("_", "-") in out


@pytest.mark.parametrize("name", COMMANDS.names())
def test_help_of_every_command_is_complete(name, capsys):
    """Every flag that the command takes stands on its page with its default."""
    with pytest.raises(SystemExit) as stopped:
        main([name.replace("_", "-"), "--help"])
    assert stopped.value.code == 0
    page = capsys.readouterr().out
    for option in options_of(COMMANDS.get(name).groups([])).values():
        assert f"--{option.name}" in page
    assert help_of(name) == page


@pytest.mark.parametrize("name", ["", *COMMANDS.names()])
def test_help_imports_neither_torch_nor_transformers(name):
    words = [word for word in (name.replace("_", "-"), "--help") if word]
    code = (
        "import sys\n"
        "from swiftrl.cli.main import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "slow = {'torch', 'transformers', 'numpy', 'datasets', 'peft', 'rich'}\n"
        "heavy = slow & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rlfh"], "unknown command 'rlfh'"),
        (["rollout"], "not part of this version"),
        (["rlhf", "--modle", "x"], "unknown setting --modle. Did you mean 'model'?"),
        (["RLHF"], "Did you mean 'rlhf'?"),
        (["rlhf", "--lr", "1e-4"], "--lr: is called --learning_rate here."),
        (["rlhf", "--config"], "--config: expected a YAML or JSON file behind it."),
        (["rlhf", "--beta"], "swiftrl: --beta: expected one argument. See swiftrl rlhf --help."),
        (["rlhf", "--columns", "a=b"], """e.g. '{"name": "value"}'."""),
        (["rlhf", "--rlhf_type", "dpoo"], "Did you mean 'dpo'"),
        (["rlhf", "--rlhf_type", "ppoo"], "Did you mean 'ppo'"),
        (["rlhf", "--use_vllm", "true"], "--use_vllm: vLLM serves rollouts"),
        (["rlhf", "--enable_dft_loss", "true"], "--enable_dft_loss: belongs to swiftrl sft"),
        (["sft", "--beta", "0.1"], "--beta: belongs to swiftrl rlhf --rlhf_type cpo or dpo"),
        (["rlhf", "--padding_free", "false"], "expected one of True"),
        (["rlhf"], "--model is missing"),
        (["rlhf", "--model", "builtin:tiny-instruct"], "--dataset is missing"),
        (["rlhf", "--model", "x", "--dataset", "y", "--lora_rank", "0"], "--lora_rank 0"),
        (["rlhf", "--model", "x", "--dataset", "y", "--beta", "-1"], "--beta -1.0"),
        (["rlhf", "--model", "x", "--dataset", "y", "--split_dataset_ratio", "2"], "e.g. 0.05"),
        (["rlhf", "--model", "x", "--dataset", "y", "--streaming", "true"], "give --max_steps"),
        (
            ["rlhf", "--model", "x", "--dataset", "y", "--early_stop_interval", "2"],
            "--early_stop_interval needs held-out rows",
        ),
    ],
)
def test_users_mistakes_end_with_2_and_one_line(words, message, capsys):
    code, _, err = run(capsys, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_every_wrong_flag_is_named_at_once(capsys):
    words = ["--model", "x", "--packing", "true", "--lora_rnk", "8", "--port=1", "--beta", "1"]
    code, _, err = run(capsys, "rlhf", *words)
    assert code == 2
    assert [line.split(":")[0].strip() for line in err.splitlines()] == [
        "swiftrl",
        "unknown setting --lora_rnk. Did you mean 'lora_rank'?",
        "--port",
    ]


def test_a_tracker_that_is_not_installed_is_missed_before_anything_is_loaded(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "swanlab", None)
    words = ["--model", "x", "--dataset", "y", "--report_to", "swanlab"]
    code, _, err = run(capsys, "rlhf", *words)
    assert code == 2
    assert "pip install 'swiftrl[swanlab]'" in err


def test_a_reference_that_is_not_there_is_missed_before_anything_is_loaded(capsys, tmp_path):
    words = ["--model", "builtin:tiny-instruct", "--dataset", "builtin:preferences"]
    output = tmp_path / "output"
    code, _, err = run(
        capsys, "rlhf", *words, "--ref_model", "./nowhere", "--output_dir", str(output)
    )
    assert code == 2
    assert err.startswith("swiftrl: --ref_model ./nowhere: no such folder")
    assert not output.exists()


def test_version(capsys):
    assert run(capsys, "--version")[1].startswith("swiftrl ")


def test_a_misspelt_flag_of_export_is_not_sent_to_export(capsys):
    assert main(["export", "--quant_bit", "4"]) == 2
    assert "Did you mean 'quant_bits'?" in capsys.readouterr().err
