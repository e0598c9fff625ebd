"""Processes that share rows compute what one alone does, in value, gradient and training."""

import functools
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import Setup, environment, lines_of, make_trainer, program, run, weights_of
from tree_models import TREE, build, forest

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError
from swiftrl.data.batch import pack
from swiftrl.rlhf.parallel.sequence_check import check_model
from swiftrl.rlhf.parallel.sequence_group import SequenceGroup, check_world
from swiftrl.rlhf.parallel.ulysses import cut
from swiftrl.rlhf.policy import Policy

HERE = Path(__file__).parent
STEPS = 20
ADAM = {"optim": "adamw", "learning_rate": 3e-3, "adam_epsilon": 1e-4}
"""With a smaller epsilon Adam makes a step of the rounding where there is no gradient."""
CASES = {
    "dpo": {},
    "dpo-adam": {},
    "dpo-full": {"lora": False},
    "dpo-aot": {"options": {"loss_type": ["aot"]}},
    "sft": {"algorithm": "sft"},
    "kto": {"algorithm": "kto"},
    "rm": {"algorithm": "rm"},
    "gkd": {"algorithm": "gkd"},
    "grpo": {"algorithm": "grpo", "options": {"num_generations": 3}},
    "checkpointed": {"checkpointing": True},
    "dpo-fsdp": {"fsdp": "fsdp2"},
    "dpo-full-fsdp": {"lora": False, "fsdp": "fsdp2", "checkpointing": True},
}


def setup_of(case: str, folder: Path, *, replicas: int = 1, sequence: int = 1, **train) -> Setup:
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 4 // replicas,
        "max_steps": STEPS,
        "optim": "sgd",
        "learning_rate": 0.5,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "eval_on_start": True,
        "save_strategy": "no",
    }
    if case == "dpo-adam":
        settings |= ADAM
    return Setup(
        train=settings | train,
        num_rows=30,
        num_held_out=7,
        untrained=[4],
        heads=4,
        sequence=sequence,
        weights=str(folder.with_suffix(".safetensors")),
        **CASES[case],
    )


def run_in(processes: int, setups: list[Setup]) -> None:
    done = subprocess.run(
        program(setups, processes=processes),
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def assert_same(ours, expected, start, folder, other):
    moved = 0.0
    for name, value in expected.items():
        moved = max(moved, float((value - start[name]).abs().max()))
        assert torch.allclose(ours[name], value, rtol=0, atol=1e-5), name
    assert moved > 1e-2, "the weights hardly moved: nothing was compared"
    assert len(lines_of(folder)) == len(lines_of(other)) > STEPS
    for one, two in zip(lines_of(folder), lines_of(other), strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"tokens_per_s", "samples_per_s", "elapsed_s"}:
            assert one[name] == pytest.approx(two[name], rel=2e-4, abs=2e-5), (one["step"], name)


@pytest.mark.parametrize("processes", [2, 4])
def test_log_probabilities_and_gradients(processes):
    """Fourteen architectures (windows, sinks, soft caps, latent heads), rotary, LoRA, pictures."""
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    chosen = list(TREE) if processes == 2 else ["qwen3", "gpt_oss", "deepseek_v3"]
    tests = HERE.parent
    variables = environment()
    variables["PYTHONPATH"] += f":{tests}"
    done = subprocess.run(
        [sys.executable, *words, str(HERE / "sequence_values.py"), *chosen],
        env=variables, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("equal")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return a function: case -> (weights before, weights after, folder) of one process."""

    @functools.cache
    def trained(case):
        folder = tmp_path_factory.mktemp("alone") / case
        trainer = make_trainer(replace(setup_of(case, folder), fsdp=None))
        start = weights_of(trainer)
        trainer.train()
        return start, weights_of(trainer), folder

    return trained


@pytest.mark.parametrize(
    ("processes", "sequence", "cases"),
    [
        (2, 2, list(CASES)),
        (4, 4, ["dpo", "checkpointed"]),
        (4, 2, ["dpo-adam", "dpo-full", "dpo-aot", "sft", "grpo", "dpo-fsdp", "dpo-full-fsdp"]),
    ],
)
def test_twenty_steps_of_every_kind(processes, sequence, cases, tmp_path, alone):
    """One group of two or four, and two groups of two, which have rows of their own."""
    replicas = processes // sequence
    folders = {case: tmp_path / case for case in cases}
    run_in(
        processes,
        [setup_of(c, f, replicas=replicas, sequence=sequence) for c, f in folders.items()],
    )
    for case, folder in folders.items():
        ours = load_file(folder.with_suffix(".safetensors"))
        start, expected, other = alone(case)
        assert_same(ours, expected, start, folder, other)


@pytest.mark.slow
def test_with_deepspeed(tmp_path, alone):
    """Shared rows and ZeRO 3: weights lie over all processes, rows over the groups."""
    pytest.importorskip("deepspeed", reason="an extra: pip install 'swiftrl[deepspeed]'")
    folder = tmp_path / "dpo-adam"
    run_in(2, [replace(setup_of("dpo-adam", folder, sequence=2), deepspeed="zero3")])
    start, expected, other = alone("dpo-adam")
    assert_same(load_file(folder.with_suffix(".safetensors")), expected, start, folder, other)


def test_saved_and_resumed(tmp_path):
    """Resumed with the same groups, to the last bit; by one process alone, to rounding."""
    whole, again, alone = (tmp_path / name for name in ("whole", "again", "alone"))
    saving = {"save_strategy": "steps", "save_steps": 10, "logging_steps": 4}
    run_in(2, [setup_of("dpo-adam", whole, sequence=2, **saving)])
    expected = load_file(whole.with_suffix(".safetensors"))
    for folder in (again, alone):
        shutil.copytree(whole, folder)
        saving["resume_from_checkpoint"] = str(folder / "checkpoint-10")
        setup = setup_of("dpo-adam", folder, sequence=1 if folder is alone else 2, **saving)
        run_in(2, [setup]) if folder is again else run(setup)
        exact = folder is again
        for name, value in load_file(folder.with_suffix(".safetensors")).items():
            assert torch.allclose(value, expected[name], rtol=0, atol=0 if exact else 1e-4), name
        for one, two in zip(lines_of(folder), lines_of(whole), strict=True):
            assert one["loss" if "loss" in one else "eval_loss"] == pytest.approx(
                two["loss" if "loss" in two else "eval_loss"], rel=0 if exact else 1e-4
            )


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("qwen3", 3, "4 attention heads, which 3 does not divide. Choose one of 2, 4"),
        ("mamba", 2, "carries a state"),
        ("lfm2", 2, "carries a state from token to token \\(conv\\)"),
    ],
)
def test_models_that_cannot_be_divided_are_refused_by_their_configuration(name, size, message):
    config = build(name).config
    check_model(config, 1)
    with pytest.raises(ConfigError, match=message):
        check_model(config, size)


@pytest.mark.parametrize("name", TREE)
def test_models_that_can_be_divided_are_not_refused(name):
    check_model(build(name).config, 2)


def test_a_number_of_processes_that_groups_do_not_make_up_is_refused():
    check_world(2, 4)
    with pytest.raises(ConfigError, match="3 processes, which groups of 2 do not make up"):
        check_world(2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sequence_parallel_size", "2"], "the run has 1 processes"),
        (["--sequence_parallel_size", "2", "--layout", "rows"], "use --layout auto or tree"),
        (["--sequence_parallel_size", "2", "--torch_compile", "true"], "leave --torch_compile"),
        (["--sequence_parallel_size", "0"], "expected more than 0"),
    ],
)
def test_mistakes_are_said_before_anything_is_loaded(tmp_path, capsys, words, message):
    base = ["sft", "--model", "builtin:tiny-instruct", "--dataset", "builtin:instructions#4",
            "--use_cpu", "true", "--output_dir", str(tmp_path)]  # fmt: skip
    assert main([*base, *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_whose_heads_cannot_be_shared_is_refused_by_one_message(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("NPROC_PER_NODE", "3")
    base = ["sft", "--model", "builtin:tiny-instruct", "--dataset", "builtin:instructions#4",
            "--use_cpu", "true", "--output_dir", str(tmp_path)]  # fmt: skip
    assert main([*base, "--sequence_parallel_size", "3"]) == 2
    assert capfd.readouterr().err.count("4 attention heads, which 3 does not divide") == 1


def test_a_model_in_rows_is_refused():
    policy = Policy(build("bloom"))
    with pytest.raises(ConfigError, match="needs --layout tree"):
        policy.share_tokens(SequenceGroup(0, 2))


@pytest.mark.parametrize(("tokens", "size"), [(7, 2), (1, 4), (8, 4), (9, 3)])
def test_slices_make_up_the_row_and_every_trained_token_once(tokens, size):
    batch = pack(forest(((1, tokens - 1),) if tokens > 1 else ((0, 1),)))
    parts = [cut(batch, SequenceGroup(rank, size)) for rank in range(size)]
    assert len({part.tokens.stop - part.tokens.start for part in parts}) == 1
    assert parts[0].tokens.start == 0
    assert parts[-1].tokens.stop == len(parts[0].batch.token_ids) < tokens + size
    assert torch.equal(torch.cat([part.mine for part in parts]).sort().values,
                       torch.arange(len(batch.target_ids)))  # fmt: skip
    for part in parts:
        whole = part.source_index + part.tokens.start
        assert torch.equal(whole, batch.source_index[part.mine])
