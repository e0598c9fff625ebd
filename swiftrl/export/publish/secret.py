"""Credentials that never show, and where the vendors' own tools keep them."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftrl.core.errors import ConfigError

__all__ = ["AccessKey", "Secret", "alibaba_key", "dashscope_key", "huawei_key"]


class Secret:
    """A word that is neither printed nor written: only `reveal` gives it."""

    __slots__ = ("_word",)

    def __init__(self, word: str) -> None:
        self._word = word

    def reveal(self) -> str:
        """Return the word, for the one who sends it."""
        return self._word

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._word)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written to files")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A pair of keys, and the token that temporary ones have."""

    id: Secret
    secret: Secret
    token: Secret | None = None


def alibaba_key(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> AccessKey:
    """Return Alibaba Cloud's keys: from the environment, ossutil's file, or aliyun's.

    Raises:
        ConfigError: there are none.
    """
    home = home or Path.home()
    names = (
        ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"),
        (
            "ALIBABA_CLOUD_ACCESS_KEY_ID",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
            "ALIBABA_CLOUD_SECURITY_TOKEN",
        ),
    )
    found = (
        _from_environment(environ, names)
        or _from_ini(
            home / ".ossutilconfig", "Credentials", ("accessKeyID", "accessKeySecret", "stsToken")
        )
        or _from_aliyun(home / ".aliyun" / "config.json")
    )
    return found or _absent("Alibaba Cloud", names, "~/.ossutilconfig, ~/.aliyun/config.json")


def huawei_key(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> AccessKey:
    """Return Huawei Cloud's keys: from the environment, the SDK's file, or obsutil's.

    Raises:
        ConfigError: there are none.
    """
    home = home or Path.home()
    names = (
        ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"),
        ("OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY", "OBS_SECURITY_TOKEN"),
        ("HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_SECURITY_TOKEN"),
    )
    found = (
        _from_environment(environ, names)
        or _from_ini(home / ".huaweicloud" / "credentials", "basic", ("ak", "sk", "security_token"))
        or _from_ini(home / ".obsutilconfig", None, ("ak", "sk", "token"))
    )
    return found or _absent("Huawei Cloud", names, "~/.huaweicloud/credentials, ~/.obsutilconfig")


def dashscope_key(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Secret:
    """Return Model Studio's (Bailian's) key: from the environment or ~/.dashscope/api_key.

    Raises:
        ConfigError: there is none.
    """
    word = environ.get("DASHSCOPE_API_KEY", "")
    file = (home or Path.home()) / ".dashscope" / "api_key"
    if not word and file.is_file():
        word = file.read_text(encoding="utf-8").strip()
    if not word:
        raise ConfigError(
            "no key of Model Studio (Bailian): set DASHSCOPE_API_KEY, or write it to "
            "~/.dashscope/api_key."
        )
    return Secret(word)


def _key(identity: str, secret: str, token: str = "") -> AccessKey | None:
    if not identity or not secret:
        return None
    return AccessKey(Secret(identity), Secret(secret), Secret(token) if token else None)


def _from_environment(
    environ: Mapping[str, str], names: Sequence[tuple[str, str, str]]
) -> AccessKey | None:
    for identity, secret, token in names:
        found = _key(environ.get(identity, ""), environ.get(secret, ""), environ.get(token, ""))
        if found:
            return found
    return None


def _from_ini(path: Path, section: str | None, names: tuple[str, str, str]) -> AccessKey | None:
    """Read keys from a file of `name = value` lines; without a section, the file has none."""
    if not path.is_file():
        return None
    parser = configparser.ConfigParser(interpolation=None)
    text = path.read_text(encoding="utf-8")
    try:
        parser.read_string(text if section else f"[all]\n{text}")
    except configparser.Error:
        # The error would quote the line, and the line may be the key.
        raise ConfigError(f"{path}: is not a file of `name = value` lines.") from None
    values = dict(parser.items(section or "all")) if parser.has_section(section or "all") else {}
    identity, secret, token = (values.get(name.lower(), "").strip() for name in names)
    return _key(identity, secret, token)


def _from_aliyun(path: Path) -> AccessKey | None:
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ConfigError(f"{path}: is not JSON.") from None
    for profile in values.get("profiles", []):
        if profile.get("name") == values.get("current"):
            return _key(
                profile.get("access_key_id", ""),
                profile.get("access_key_secret", ""),
                profile.get("sts_token", ""),
            )
    return None


def _absent(vendor: str, names: Sequence[tuple[str, str, str]], files: str) -> AccessKey:
    pairs = ", or ".join(f"{identity} and {secret}" for identity, secret, _ in names)
    raise ConfigError(f"no keys of {vendor}: set {pairs}; or one of the files {files}.")
