"""Credentials are found where the vendors' tools keep them, and do not show."""

import json
import pickle

import pytest

from swiftrl.core.errors import ConfigError, ExportError
from swiftrl.export.publish.retrying import TransientError, with_retries
from swiftrl.export.publish.secret import Secret, alibaba_key, dashscope_key, huawei_key


def test_a_secret_does_not_show():
    secret = Secret("word")
    shown = (repr(secret), str(secret), f"{secret}", f"{secret!r}", str([secret]), str({1: secret}))
    assert "word" not in "".join(shown) and secret.reveal() == "word"
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_key_pair_does_not_show(tmp_path):
    key = alibaba_key({"OSS_ACCESS_KEY_ID": "key-1", "OSS_ACCESS_KEY_SECRET": "two"}, tmp_path)
    assert "key-1" not in repr(key) and "two" not in repr(key)
    assert (key.id.reveal(), key.secret.reveal(), key.token) == ("key-1", "two", None)


def test_files_of_the_vendors_tools(tmp_path):
    (tmp_path / ".aliyun").mkdir()
    profiles = [{"name": "a", "access_key_id": "x", "access_key_secret": "y"},
                {"name": "b", "access_key_id": "id", "access_key_secret": "se"}]  # fmt: skip
    (tmp_path / ".aliyun/config.json").write_text(
        json.dumps({"current": "b", "profiles": profiles})
    )
    assert alibaba_key({}, tmp_path).id.reveal() == "id"
    (tmp_path / ".obsutilconfig").write_text("endpoint=obs.x\nak=hid\nsk=hse\n")
    assert huawei_key({}, tmp_path).secret.reveal() == "hse"
    (tmp_path / ".huaweicloud").mkdir()
    (tmp_path / ".huaweicloud/credentials").write_text("[basic]\nak = a%1\nsk = b\n")
    assert huawei_key({}, tmp_path).id.reveal() == "a%1"
    (tmp_path / ".dashscope").mkdir()
    (tmp_path / ".dashscope/api_key").write_text("sk-1\n")
    assert dashscope_key({}, tmp_path).reveal() == "sk-1"


def test_a_broken_file_is_named_without_its_lines(tmp_path):
    (tmp_path / ".ossutilconfig").write_text("my-secret-word\n")
    with pytest.raises(ConfigError) as caught:
        alibaba_key({}, tmp_path)
    assert ".ossutilconfig" in str(caught.value) and "my-secret-word" not in str(caught.value)


def test_absent_keys_are_named(tmp_path):
    for find, name in ((huawei_key, "HUAWEICLOUD_SDK_AK"), (dashscope_key, "DASHSCOPE_API_KEY")):
        with pytest.raises(ConfigError, match=name):
            find({}, tmp_path)


def test_retries_wait_longer_and_give_up():
    pauses, tries = [], []

    def fail():
        tries.append(1)
        raise TransientError("cut.")

    with pytest.raises(ExportError, match="sending: failed 4 times, at last with: cut"):
        with_retries("sending", fail, attempts=4, sleep=pauses.append)
    assert len(tries) == 4 and len(pauses) == 3
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses))


def test_what_went_through_without_an_answer_is_not_sent_again():
    tries = []

    def fail():
        tries.append(1)
        raise TransientError("lost.")

    found = with_retries("sending", fail, attempts=4, settled=lambda: "there", sleep=lambda s: None)
    assert found == "there" and len(tries) == 1
