import json
import shutil
import types

import pytest
import tiny_models

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models import builtin_models, hub
from swiftrl.models.resolve import resolve


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_models.save_model(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    return tiny_models.save_model(tmp_path_factory.mktemp("shards") / "model", shard="30KB")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def message(model, **options) -> str:
    with pytest.raises((ModelError, ConfigError)) as caught:
        resolve(str(model), **options)
    text = str(caught.value)
    assert "Traceback" not in text
    return text


def test_a_whole_folder_resolves_to_its_family(whole):
    resolved = resolve(str(whole))
    assert resolved.path == whole
    assert resolved.spec is not None and resolved.spec.name == "qwen3"
    assert resolved.architecture == "Qwen3ForCausalLM"


def test_a_sharded_folder_resolves(sharded):
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert resolve(str(sharded)).path == sharded


def test_model_type_overrides_the_folder(whole):
    spec = resolve(str(whole), model_type="llama").spec
    assert spec is not None and spec.name == "llama"
    assert "Did you mean 'qwen3'?" in message(whole, model_type="qwen33")


def test_wrong_path_names_what_was_looked_for_and_what_is_near(whole):
    text = message(whole.parent / "modle")
    assert str(whole.parent / "modle") in text
    assert f"Did you mean {whole}" in text


def test_a_bare_name_suggests_the_hub_id():
    assert "Qwen/Qwen3-0.6B" in message("Qwen3-0.6B")


def test_a_file_is_refused_with_its_folder(whole):
    assert f"perhaps {whole}" in message(whole / "config.json")


def test_unknown_builtin_lists_the_known(monkeypatch):
    monkeypatch.setattr(builtin_models, "builtin_names", lambda: ["tiny-base", "tiny-instruct"])
    text = message("builtin:tiny-instrct")
    assert "tiny-base" in text
    assert "Did you mean 'tiny-instruct'?" in text


def test_empty_folder(tmp_path):
    assert "holds nothing" in message(tmp_path)


def test_config_that_is_no_json(folder):
    (folder / "config.json").write_text('{"architectures": [')
    assert "not valid JSON" in message(folder)


def test_config_of_something_else(folder):
    (folder / "config.json").write_text('{"name": "x"}')
    assert '"architectures"' in message(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights: expected model.safetensors" in message(folder)


def test_only_pickles_are_refused_with_how_to_convert(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    text = message(folder)
    assert "pytorch_model.bin" in text
    assert "save_pretrained" in text


@pytest.mark.parametrize("keep", [0.99, 0.5, 0.002])
def test_a_truncated_file_is_found_before_loading(folder, keep):
    file = folder / "model.safetensors"
    whole_bytes = file.read_bytes()
    file.write_bytes(whole_bytes[: int(len(whole_bytes) * keep)])
    text = message(folder)
    assert "cut short" in text
    assert str(file) in text


def test_a_garbled_header_is_no_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"\x00" * 4096)
    assert "not a safetensors file" in message(folder)


def test_a_git_lfs_pointer_says_what_to_run(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_text(pointer)
    assert "git lfs pull" in message(folder)


def test_a_missing_shard_is_named(sharded, tmp_path):
    folder = shutil.copytree(sharded, tmp_path / "model")
    victim = sorted(folder.glob("*.safetensors"))[1]
    victim.unlink()
    assert victim.name in message(folder)


def test_shards_of_another_version_are_found(sharded, tmp_path):
    folder = shutil.copytree(sharded, tmp_path / "model")
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    shutil.copyfile(first, second)
    assert "different versions" in message(folder)


def test_an_adapter_folder_says_how_to_use_it(tmp_path):
    config = {"base_model_name_or_path": "Qwen/Qwen3-0.6B", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert f"--model Qwen/Qwen3-0.6B --adapters {tmp_path}" in message(tmp_path)


def test_a_run_folder_names_the_models_inside(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run" / "checkpoint-10")
    assert "checkpoint-10" in message(tmp_path / "run")


class RepositoryNotFoundError(OSError):
    pass


class GatedRepoError(OSError):
    pass


class RevisionNotFoundError(OSError):
    pass


class LocalEntryNotFoundError(OSError):
    pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RepositoryNotFoundError("404"), "no such model"),
        (GatedRepoError("403"), "restricted"),
        (RevisionNotFoundError("404"), "no revision 'v9'"),
        (LocalEntryNotFoundError("offline"), "cannot be reached"),
        (OSError("odd: Authorization: Bearer hf_abcdefghijklmnop"), "odd"),
    ],
)
def test_hub_errors_say_what_to_do_and_never_the_token(monkeypatch, error, expected):
    import huggingface_hub

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    secret = "hf_abcdefghijklmnop"
    text = message("some/model", use_hf=True, revision="v9", token=secret)
    assert "some/model on Hugging Face" in text
    assert expected in text
    assert secret not in text


def test_a_hub_model_is_checked_like_a_folder(monkeypatch, whole):
    monkeypatch.setattr(hub, "_modelscope", lambda *_: whole)
    resolved = resolve("Qwen/Qwen3-0.6B")
    assert (resolved.path, resolved.name) == (whole, "Qwen/Qwen3-0.6B")


class NetworkError(Exception):
    pass


def fake_modelscope(monkeypatch, cached):
    """Put a ModelScope client without a connection in place; `cached` is what its cache holds."""

    def snapshot_download(hub_id, *, local_files_only=False, **_):
        if local_files_only and cached is not None:
            return str(cached)
        raise NetworkError("no route")

    module = types.SimpleNamespace(snapshot_download=snapshot_download, HubError=NetworkError)
    monkeypatch.setattr(hub, "require", lambda *_, **__: module)


def test_modelscope_without_a_connection_uses_the_cache(monkeypatch, whole):
    fake_modelscope(monkeypatch, whole)
    assert resolve("some/model").path == whole


def test_modelscope_without_a_connection_or_a_cached_copy(monkeypatch):
    fake_modelscope(monkeypatch, None)
    assert "some/model on ModelScope: the site cannot be reached" in message("some/model")
