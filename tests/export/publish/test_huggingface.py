"""`--to huggingface`: the hub's own client against a fake of its interface, over a bad way."""

import os
import subprocess
import sys

import pytest
from cloud_fakes import folders
from cloud_fakes.hub import FakeHub
from cloud_fakes.way import Way

from swiftrl.cli.main import main
from swiftrl.export.publish.state import state_file

TOKEN = "hf_a_token_that_must_not_show"


@pytest.fixture
def hub():
    hub = FakeHub(TOKEN)
    way = Way(hub.address)
    hub.public = way.url
    yield hub, way
    way.close()
    hub.close()


def run(folder, way, *more, token=TOKEN):
    """In a process of its own: in this one the hub's client is offline."""
    words = [
        sys.executable, "-m", "swiftrl", "export", "--to", "huggingface", "--model", str(folder),
        "--destination", "me/model", "--hub_endpoint", way.url, *more,
    ]  # fmt: skip
    environ = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token}
    # Xet's protocol has no stand-in here; without it files go by LFS.
    environ["HF_HUB_DISABLE_XET"] = "1"
    return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=240)


def test_sent_over_a_way_that_fails(tmp_path, hub):
    hub, way = hub
    folder = folders.model(tmp_path / "model", 200_000)
    faults = {"PUT": ["cut", "500"], "POST": ["500"]}
    way.fault = lambda method, path, seen: dict(enumerate(faults.get(method, []))).get(seen)
    done = run(folder, way)
    assert done.returncode == 0, done.stderr
    assert {name: data for name, (_, data) in hub.files.items()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert hub.made[0]["visibility"] == "private"
    assert len([m for m, _ in way.arrived if m == "PUT"]) == 1
    state = state_file(folder, "huggingface")
    assert TOKEN not in done.stdout + done.stderr + state.read_text()
    # Without the state of the first run: the hub itself is asked what it has.
    state.unlink()
    way.clear()
    (folder / "tokenizer.json").write_text('{"a": 1}')
    assert run(folder, way).returncode == 0
    assert hub.commits == 2 and not [m for m, _ in way.arrived if m == "PUT"]
    assert hub.files["tokenizer.json"][1] == b'{"a": 1}'


def test_a_wrong_token_is_named(tmp_path, hub):
    hub, way = hub
    done = run(folders.model(tmp_path / "model"), way, token="hf_other")
    assert done.returncode == 2
    assert "The token was refused" in done.stderr and "hf_other" not in done.stderr
    assert not hub.files


def test_a_name_without_an_owner(tmp_path, capsys):
    folder = folders.model(tmp_path / "model")
    words = ["export", "--to", "huggingface", "--model", str(folder), "--destination", "model"]
    assert main(words) == 2
    assert "expected owner/name" in capsys.readouterr().err
