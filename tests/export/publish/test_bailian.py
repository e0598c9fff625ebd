"""`--to bailian`: rules seen on the files, OSS, import, deployment; fakes of both services."""

import json

import pytest
from cloud_fakes import folders
from cloud_fakes.bailian import FakeBailian
from cloud_fakes.oss import Bucket, FakeOss
from cloud_fakes.way import Way

from swiftrl.cli.main import main
from swiftrl.export.publish.state import state_file

pytest.importorskip("alibabacloud_oss_v2", reason="swiftrl[alibaba]")

SECRETS = ("a-secret-of-oss", "sk-a-key-of-bailian")


@pytest.fixture
def cloud(monkeypatch):
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", SECRETS[0])
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRETS[1])
    monkeypatch.setattr("swiftrl.export.publish.retrying._LONGEST_S", 0.05)
    monkeypatch.setattr("swiftrl.export.publish.waiting.time.sleep", lambda s: None)
    monkeypatch.setattr("swiftrl.export.publish.waiting.wait_for.__kwdefaults__",
                        {"every_s": 0.0, "sleep": lambda s: None})  # fmt: skip
    oss = FakeOss({"AKID": SECRETS[0]})
    oss.buckets["models"] = Bucket(tags={"bailian-datahub-access": "read"})
    names = ("adapter_config.json", "adapter_model.safetensors", "config.json")
    service = FakeBailian(
        SECRETS[1], lambda b, key: all(key + name in oss.buckets[b].objects for name in names)
    )
    ways = Way(oss.address), Way(service.address)
    yield oss, service, *ways
    for part in (*ways, oss, service):
        part.close()


def make(tmp_path, rank=8, base="Qwen3-8B", **config):
    model = folders.model(tmp_path / base)
    folder = folders.adapter(tmp_path / "checkpoint-9", model, rank, **config)
    size = folder / "adapter_model.safetensors"
    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    _lora(size, {f"{stem}A.weight": [rank, 16], f"{stem}B.weight": [16, rank]})
    return folder


def _lora(path, shapes):
    import torch
    from safetensors.torch import save_file

    save_file({name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in shapes.items()},
              path)  # fmt: skip


def words(folder, cloud, *more):
    return [
        "export", "--to", "bailian", "--adapters", str(folder), "--destination",
        "oss://models/loras/mine/", "--region", "cn-beijing", "--endpoint", cloud[2].url,
        "--api_endpoint", cloud[3].url, *more,
    ]  # fmt: skip


def test_imported_deployed_asked_and_removed(tmp_path, cloud, capsys):
    oss, service, way_oss, way = cloud
    folder = make(tmp_path)
    way.fault = lambda method, path, seen: "500" if method == "GET" and seen == 0 else None
    way_oss.fault = lambda method, path, seen: "cut" if method == "PUT" and seen == 0 else None
    assert main(words(folder, cloud)) == 0
    assert set(oss.buckets["models"].objects) == {
        f"loras/mine/{name}"
        for name in ("adapter_config.json", "adapter_model.safetensors", "config.json")
    }
    assert service.jobs["job-1"]["model_name"] == "qwen3-8b"
    assert service.jobs["job-1"]["storage_info"] == {
        "bucket_name": "models", "object_key": "loras/mine/"
    }  # fmt: skip
    assert not service.deployments  # it costs money
    assert main(words(folder, cloud, "--stage", "deploy")) == 2
    assert "billed" in capsys.readouterr().err
    assert main(words(folder, cloud, "--yes")) == 0
    shown = capsys.readouterr()
    assert "it answers '2'" in shown.out and len(service.jobs) == 1
    assert service.deployments["qwen3-8b-ft-job-1-d1"]["plan"] == "lora"
    state = state_file(folder, "bailian").read_text()
    assert not any(secret in shown.out + shown.err + state for secret in SECRETS)
    assert main(words(folder, cloud, "--stage", "cleanup", "--yes")) == 0
    assert not service.deployments and not service.jobs and not oss.buckets["models"].objects


def test_an_import_whose_answer_was_lost_is_not_made_twice(tmp_path, cloud):
    _, service, _, way = cloud
    folder = make(tmp_path)
    way.fault = lambda method, path, seen: "lost" if method == "POST" and seen == 0 else None
    assert main(words(folder, cloud)) == 2
    assert main(words(folder, cloud)) == 0
    assert list(service.jobs) == ["job-1"]


@pytest.mark.parametrize(
    ("rank", "base", "config", "message"),
    [
        (12, "Qwen3-8B", {}, "the rank is 12; it must be one of 8, 16, 32, 64"),
        (8, "Qwen3-8B", {"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head']"),
        (8, "Qwen3-8B", {"rank_pattern": {"q_proj": 4}}, "ranks must be the same everywhere"),
        (8, "Qwen3-8B", {"use_dora": True}, "DoRA is not taken"),
        (8, "Llama-3-8B", {}, "the base model is not known"),
    ],
)
def test_rules_are_named_before_anything_is_sent(
    tmp_path, cloud, capsys, rank, base, config, message
):
    assert main(words(make(tmp_path, rank, base, **config), cloud)) == 2
    assert message in capsys.readouterr().err
    assert not cloud[2].seen and not cloud[3].seen


def test_what_else_is_named_before_anything_is_sent(tmp_path, cloud, capsys):
    """A changed template, weights that are not LoRA, an unlisted base, the bucket's root."""
    folder = make(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ other }}")
    names = ("base_model.model.visual.lora_A.weight", "base_model.model.lm_head.weight")
    _lora(folder / "adapter_model.safetensors", {name: [4, 4] for name in names})
    more = ["--base_model", "qwen9-1b", "--destination", "oss://models/"]
    assert main(words(folder, cloud, *more)) == 2
    said = capsys.readouterr().err
    for message in (
        "chat_template.jinja differs from the base model's", "has rank 4; adapter_config.json",
        "lm_head.weight: only LoRA weights", "the vision tower must not be trained",
        "--base_model qwen9-1b: LoRA is imported for qwen3-32b", "not its root",
    ):  # fmt: skip
        assert message in said, message
    assert not cloud[2].seen


def test_a_bucket_without_the_tag_is_named_before_anything_is_sent(tmp_path, cloud, capsys):
    oss = cloud[0]
    oss.buckets["models"].tags.clear()
    folder = make(tmp_path)
    assert main(words(folder, cloud)) == 2
    assert "the import needs bailian-datahub-access=read" in capsys.readouterr().err
    oss.buckets["models"] = Bucket({"bailian-datahub-access": "read"}, "Archive")
    assert main(words(folder, cloud)) == 2
    assert "is of class Archive" in capsys.readouterr().err
    assert not oss.buckets["models"].objects


def test_wrong_keys_and_a_closed_interface(tmp_path, cloud, monkeypatch, capsys):
    folder = make(tmp_path)
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-other")
    assert main(words(folder, cloud)) == 2
    said = capsys.readouterr().err
    assert "401 InvalidApiKey" in said and "sk-other" not in said
    assert not cloud[0].buckets["models"].objects
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRETS[1])
    cloud[1].closed = True
    assert main(words(folder, cloud)) == 2
    assert "2. My Models > Import model > from OSS" in capsys.readouterr().out


def test_a_whole_model_is_refused(tmp_path, cloud, capsys):
    folder = folders.model(tmp_path / "model")
    more = ["--model", str(folder)]
    given = words(folder, cloud, *more)
    at = given.index("--adapters")
    assert main([*given[:at], *given[at + 2 :]]) == 2
    assert "takes LoRA adapters" in capsys.readouterr().err


def test_the_plan_shows_the_bodies(tmp_path, cloud, capsys):
    assert main(words(make(tmp_path), cloud, "--dry_run")) == 0
    shown = capsys.readouterr().out
    body = shown.partition("/api/v1/custom_models/import\n")[2]
    assert json.JSONDecoder().raw_decode(body)[0] == {
        "model_name": "qwen3-8b", "display_name": "mine", "source": "oss", "weight_type": "lora",
        "storage_info": {"bucket_name": "models", "object_key": "loras/mine/"},
    }  # fmt: skip
    assert "billed from the moment it is RUNNING" in shown and not cloud[2].seen
