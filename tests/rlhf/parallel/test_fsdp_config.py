import json

import pytest

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.parallel.fsdp_config import FsdpSettings, read_fsdp


def test_presets():
    assert read_fsdp("fsdp2") == FsdpSettings()
    assert read_fsdp("fsdp2_offload") == FsdpSettings(offload=True)


def write(folder, value):
    path = folder / "fsdp.json"
    path.write_text(json.dumps(value))
    return str(path)


def test_a_file_of_swift_and_transformers(tmp_path):
    config = {
        "fsdp_version": 2,
        "reshard_after_forward": False,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "cpu_ram_efficient_loading": False,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": True,
    }
    expected = FsdpSettings(
        offload=True,
        reshard_after_forward=False,
        load_on_main=False,
        sharded_checkpoints=False,
        activation_checkpointing=True,
    )
    whole = {"fsdp": "full_shard auto_wrap offload", "fsdp_config": config}
    assert read_fsdp(write(tmp_path, whole)) == expected
    prefixed = {f"fsdp_{key.removeprefix('fsdp_')}": item for key, item in config.items()}
    assert read_fsdp(write(tmp_path, prefixed | {"fsdp_offload_params": True})) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"fsdp": "hybrid_shard"}, "hybrid_shard"),
        ({"fsdp_config": {"fsdp_version": 1}}, "only FSDP2"),
        ({"fsdp_config": {"reshard_after_foward": True}}, "Did you mean"),
        ({"fsdp_config": {"offload_params": "yes"}}, "true or false"),
        ({"fsdp_config": {"auto_wrap_policy": "SIZE_BASED_WRAP"}}, "TRANSFORMER_BASED_WRAP"),
        ({"fsdp_config": {"state_dict_type": "LOCAL"}}, "SHARDED_STATE_DICT"),
        ([1], "object"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, value, words):
    with pytest.raises(ConfigError, match=words):
        read_fsdp(write(tmp_path, value))


def test_a_wrong_name_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'fsdp2"):
        read_fsdp("fsdp3")
