import os
import re
import subprocess
import sys

import pytest

from swiftrl.core.config import options_of
from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.data.config import DataConfig
from swiftrl.models.config import ModelConfig, TunerConfig
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.online import RolloutConfig
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.run_folder import (
    HARMLESS,
    changed_settings,
    prepare_run_folder,
    release_run_folder,
)
from swiftrl.templates.config import TemplateConfig


def test_every_run_gets_a_version_of_its_own(tmp_path):
    config = TrainConfig(output_dir=str(tmp_path / "out"))
    first, second = prepare_run_folder(config), prepare_run_folder(config)
    assert re.fullmatch(r"v0-\d{8}-\d{6}", first.path.name)
    assert re.fullmatch(r"v1-\d{8}-\d{6}", second.path.name)
    assert first.path.is_dir() and first.resume_from is None


def test_versions_are_counted_as_numbers(tmp_path):
    for name in ("v2-20260101-000000", "v10-20260101-000000", "v99-notes"):
        (tmp_path / name).mkdir()
    assert prepare_run_folder(TrainConfig(output_dir=str(tmp_path))).path.name.startswith("v11-")


def test_without_versions_the_folder_must_be_empty(tmp_path):
    config = TrainConfig(output_dir=str(tmp_path), add_version=False)
    assert prepare_run_folder(config).path == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=f"not empty.*--resume_from_checkpoint {tmp_path}"):
        prepare_run_folder(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        prepare_run_folder(TrainConfig(output_dir=str(tmp_path / "out")))


def test_a_refusal_to_write_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(ConfigError, match=r"cannot be written \(Permission denied\)"):
        prepare_run_folder(TrainConfig(output_dir=str(tmp_path)))


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="a file stands where a folder is needed"):
        prepare_run_folder(TrainConfig(output_dir=str(tmp_path / "out" / "below")))


def test_nothing_to_resume_from(tmp_path):
    missing = TrainConfig(resume_from_checkpoint=str(tmp_path / "none"))
    with pytest.raises(ModelError, match="no such folder"):
        prepare_run_folder(missing)
    empty = TrainConfig(resume_from_checkpoint=str(tmp_path))
    with pytest.raises(ModelError, match="no whole checkpoint-N in it"):
        prepare_run_folder(empty)
    (tmp_path / "v0-20260101-000000" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(ModelError, match="name one: v0-20260101-000000"):
        prepare_run_folder(empty)


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    folder = prepare_run_folder(TrainConfig(output_dir=str(tmp_path), add_version=False)).path
    release_run_folder(folder)
    (folder / "args.json").write_text('{"lora_rank": 8}')
    again = TrainConfig(resume_from_checkpoint=str(folder))
    with pytest.raises(ConfigError, match="--lora_rank: 8 -> 16"):
        prepare_run_folder(again, settings={"lora_rank": 16})
    found = prepare_run_folder(again, settings={"lora_rank": 8})
    assert (found.path, found.resume_from) == (folder, None)


def test_settings_that_make_another_run():
    old = {"model": "a", "lora_rank": 8, "dataset": ["x"], "seed": 1, "logging_steps": 5, "gone": 1}
    new = {
        "model": "a",
        "lora_rank": 16,
        "dataset": ("y",),
        "seed": 1,
        "logging_steps": 7,
        "new": 1,
    }
    assert changed_settings(old, new) == [("lora_rank", (8, 16)), ("dataset", (["x"], ("y",)))]
    assert changed_settings(old, old | {"dataset": ("x",)}) == []


def test_settings_that_may_change_exist():
    groups = [ModelConfig, TunerConfig, DataConfig, TemplateConfig]
    groups += [TrainConfig, ParallelConfig, ReferenceConfig, RolloutConfig]
    assert set(options_of(groups)) | {"external_plugins"} >= HARMLESS
    assert not HARMLESS & {"model", "dataset", "lora_rank", "learning_rate", "seed", "data_seed"}


def test_a_folder_in_use_is_refused(tmp_path):
    config = TrainConfig(output_dir=str(tmp_path), add_version=False)
    code = (
        "import sys, time; from swiftrl.rlhf.config import TrainConfig\n"
        "from swiftrl.rlhf.run_folder import prepare_run_folder\n"
        f"prepare_run_folder(TrainConfig(output_dir={str(tmp_path)!r}, add_version=False))\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(ConfigError, match="another process is training in this folder"):
                prepare_run_folder(config)
        finally:
            other.kill()
    assert prepare_run_folder(config).path == tmp_path, "a killed process holds nothing"
    release_run_folder(tmp_path)
