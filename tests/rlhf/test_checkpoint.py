import json
import resource
import shutil
from pathlib import Path

import device
import pytest
import torch
from tiny_run import Setup, lines_of, make_trainer, run, tiny_rows, weights_of

from swiftrl.core.errors import ConfigError, MachineError, ModelError
from swiftrl.rlhf import checkpoint as files
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.run_folder import prepare_run_folder


def setup_of(folder, *, resume=None, lora=True, **train):
    base = {
        "output_dir": str(folder),
        "resume_from_checkpoint": str(resume) if resume else None,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
        "save_steps": 2,
        "logging_steps": 3,
    }
    return Setup(train=base | train, num_rows=14, lora=lora, dropout=0.1)


def assert_equal(ours, expected):
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 7 steps with checkpoints 2, 4, 6 and 7, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    trainer, _ = run(setup_of(folder))
    assert trainer.state.step == 7
    return folder, weights_of(trainer)


@pytest.fixture
def copied(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    return folder, finished[1]


def test_nothing_is_pickled(finished):
    names = [path.name for path in finished[0].rglob("*") if path.is_file()]
    kinds = {Path(name).suffix for name in names if name != ".lock"}
    assert kinds <= {".json", ".jsonl", ".safetensors", ".md"}


@pytest.mark.parametrize("step", [2, 4, 6])
def test_resumed_is_uninterrupted_bit_for_bit(copied, step):
    folder, expected = copied
    expected_lines = lines_of(folder)
    trainer, result = run(setup_of(folder, resume=folder / f"checkpoint-{step}"))
    assert_equal(weights_of(trainer), expected)
    assert result.run_folder == folder
    ours = lines_of(folder)
    assert [line["step"] for line in ours] == [line["step"] for line in expected_lines]
    for one, other in zip(ours, expected_lines, strict=True):
        for name in one.keys() - {"tokens_per_s", "samples_per_s", "elapsed_s"}:
            assert one[name] == other[name], name


def test_resuming_elsewhere_in_the_run_sets_later_checkpoints_aside(copied):
    folder, _ = copied
    make_trainer(setup_of(folder, resume=folder / "checkpoint-2"))
    assert [step for step, _ in files.list_checkpoints(folder)] == [2]
    aside = next(folder.glob("superseded-*"))
    assert {path.name for path in aside.iterdir()} == {
        "checkpoint-4",
        "checkpoint-6",
        "checkpoint-7",
    }


def test_a_coupled_loss_with_a_state_resumes_exactly(tmp_path):
    def setup(resume=None):
        made = setup_of(tmp_path / "run", resume=resume)
        made.options = {"loss_type": ["bco_pair"]}
        return made

    trainer, _ = run(setup())
    expected = weights_of(trainer)
    resumed, _ = run(setup(tmp_path / "run" / "checkpoint-4"))
    assert_equal(weights_of(resumed), expected)
    assert resumed.training.algorithm.state_dict() == trainer.training.algorithm.state_dict()


def replaced(setup, **changes):
    for name, value in changes.items():
        setattr(setup, name, value)
    return setup


@pytest.mark.parametrize("division", [(4, 1), (1, 4)])
def test_resuming_with_another_division_of_the_step(tmp_path, division):
    def setup(resume=None, **train):
        return replaced(setup_of(tmp_path / "run", resume=resume, **train), dropout=0.0)

    trainer, _ = run(setup())
    per_pass, passes = division
    split = {"per_device_train_batch_size": per_pass, "gradient_accumulation_steps": passes}
    resumed, _ = run(setup(tmp_path / "run" / "checkpoint-4", **split))
    for name, value in weights_of(trainer).items():
        assert torch.allclose(weights_of(resumed)[name], value, rtol=0, atol=1e-4), name


def test_another_global_batch_is_refused(copied):
    folder, _ = copied
    with pytest.raises(ConfigError, match="took 4 rows and would now take 6"):
        make_trainer(setup_of(folder, resume=folder, gradient_accumulation_steps=3))


def test_other_data_is_refused(copied):
    folder, _ = copied
    with pytest.raises(ConfigError, match="had 14 rows and now has 15"):
        make_trainer(replaced(setup_of(folder, resume=folder), num_rows=15))


def test_other_rows_in_the_same_number_are_refused(tmp_path):
    class Rows(list):
        fingerprint = "a"

    rows = Rows(tiny_rows(14, "preference"))
    run(setup_of(tmp_path / "run", max_steps=2), data=rows)
    resumed = setup_of(tmp_path / "run", resume=tmp_path / "run", max_steps=4)
    make_trainer(resumed, data=rows)
    rows.fingerprint = "b"
    with pytest.raises(ConfigError, match="as many rows as before, but not the same ones"):
        make_trainer(resumed, data=rows)


def test_another_model_is_refused(copied):
    folder, _ = copied
    setup = setup_of(folder, resume=folder)
    config = TrainConfig(**setup.train)
    trainer = make_trainer(setup_of(folder.with_name("other"), lora=False))
    trainer.saver.resume_from = prepare_run_folder(config).resume_from
    with pytest.raises(ModelError, match="its trained weights are not this run's"):
        trainer.saver.restore()


def test_changed_settings_are_listed(copied):
    folder, _ = copied
    setup = setup_of(folder, resume=folder, learning_rate=5e-3, seed=7, logging_steps=1)
    with pytest.raises(ConfigError) as caught:
        make_trainer(setup)
    text = str(caught.value)
    assert "--learning_rate: 0.01 -> 0.005" in text
    assert "--seed: " not in text, "args.json of the tiny run knows no default seed"
    assert "logging_steps" not in text
    assert f"--adapters {folder / 'checkpoint-7'}" in text


def test_resuming_a_complete_run_says_what_to_change_and_then_goes_on(copied):
    folder, _ = copied
    with pytest.raises(
        ConfigError, match=r"training is complete: 7 steps, 2 epochs.*--num_train_epo"
    ):
        make_trainer(setup_of(folder, resume=folder))
    _, result = run(setup_of(folder, resume=folder, num_train_epochs=3))
    assert result.state.step == 11
    assert result.state.rows == 42


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (
            lambda folder: (folder / "adapter_model.safetensors").unlink(),
            "adapter_model.safetensors is missing",
        ),
        (
            lambda folder: (folder / "trainer/optimizer.safetensors").write_bytes(b"cut"),
            "trainer/optimizer.safetensors has 3 bytes instead of",
        ),
        (lambda folder: flip(folder / "trainer/trainable.safetensors"), "the contents of trainer/"),
    ],
)
def test_a_checkpoint_cut_short_is_named_and_passed_over(copied, damage, named, capsys):
    folder, _ = copied
    damage(folder / "checkpoint-7")
    damage(folder / "checkpoint-6")
    config = TrainConfig(resume_from_checkpoint=str(folder / "checkpoint-7"))
    with pytest.raises(ModelError, match="not a whole checkpoint: .*" + named):
        prepare_run_folder(config)
    found = prepare_run_folder(TrainConfig(resume_from_checkpoint=str(folder)))
    assert found.resume_from == folder / "checkpoint-4"
    warnings = capsys.readouterr().err
    assert named in warnings
    assert "checkpoint-7 is passed over" in warnings and "checkpoint-6 is passed over" in warnings


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_models_alone_are_smaller_and_not_resumable(tmp_path):
    _, result = run(setup_of(tmp_path / "run", save_only_model=True))
    assert not (result.checkpoint / "trainer").exists()
    assert files.problems(result.checkpoint) == []
    with pytest.raises(ModelError, match="saved with --save_only_model"):
        prepare_run_folder(TrainConfig(resume_from_checkpoint=str(result.checkpoint)))


def test_the_limit_keeps_the_newest(tmp_path):
    run(setup_of(tmp_path / "run", save_total_limit=2))
    assert [step for step, _ in files.list_checkpoints(tmp_path / "run")] == [6, 7]


def test_leftovers_of_a_kill_are_removed(copied):
    folder, _ = copied
    left = folder / ".checkpoint-8.tmp-abc"
    (left / "trainer").mkdir(parents=True)
    make_trainer(setup_of(folder, resume=folder, num_train_epochs=3))
    assert not left.exists()


@pytest.fixture
def file_size_limit():
    """Return a function that limits how large files may grow, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [6_000, 40_000])
def test_no_space_while_saving_leaves_earlier_checkpoints_intact(copied, file_size_limit, limit):
    """The smaller limit stops the model's file, the larger one the optimizer's."""
    folder, _ = copied
    trainer = make_trainer(setup_of(folder, resume=folder / "checkpoint-4"))
    file_size_limit(limit)
    with pytest.raises(MachineError, match=r"writing failed.*File too large"):
        trainer.train()
    assert files.problems(folder / "checkpoint-4") == []
    assert [step for step, _ in files.list_checkpoints(folder)] == [2, 4]
    assert not list(folder.glob(".checkpoint-*")), "nothing half-written stays"


def test_no_space_is_the_machines_fault(tmp_path):
    def full(_folder):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(MachineError, match="no space left on the device") as caught:
        files.write_checkpoint(
            tmp_path / "checkpoint-1", save_model=full, settings={}, trainable=None, resumable=None
        )
    assert caught.value.exit_code == 1
    assert not any(tmp_path.iterdir())


def test_state_is_plain_json(finished):
    state = json.loads((finished[0] / "checkpoint-4" / "trainer" / "state.json").read_text())
    assert state["counters"]["step"] == 4
    assert state["counters"]["rows"] == 16
    assert len(state["processes"]) == 1
    sources = {"python", "numpy", "torch", *(["device"] if device.name() != "cpu" else [])}
    assert state["processes"][0]["random"].keys() == sources
