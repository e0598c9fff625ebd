"""The data sets shipped with the package."""

import base64
import io
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swiftrl.core.errors import DataError
from swiftrl.data.builtin.load import SPLITS, names, path

TEXT_SETS = ("instructions", "labelled", "preferences", "pretrain", "prompts")
PICTURE_SETS = ("vl-instructions", "vl-preferences")


@pytest.fixture
def builtin_scripts(monkeypatch):
    """Let a test import the scripts that make the built-in models and data."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def read(name, split):
    return [json.loads(line) for line in path(name, split).read_text("utf-8").splitlines()]


def asked(row):
    """What is asked in a row: the last turn of the user, with what stands before it."""
    if "text" in row:
        return row["text"]
    last = max(i for i, message in enumerate(row["messages"]) if message["role"] == "user")
    words = [message["content"] for message in row["messages"][: last + 1]]
    return json.dumps([words, row.get("images")])


def test_names_and_paths():
    assert names() == sorted(TEXT_SETS + PICTURE_SETS)
    assert all(path(name, split).is_file() for name in names() for split in SPLITS)


def test_unknown_names_and_splits_are_refused_with_a_hint():
    with pytest.raises(DataError, match="Did you mean 'preferences'"):
        path("preference")
    with pytest.raises(DataError, match="Did you mean 'heldout'"):
        path("preferences", "held-out")


def test_heldout_prompts_are_in_no_training_set():
    trained = {asked(row) for name in names() for row in read(name, "train")}
    heldout = {asked(row) for name in names() for row in read(name, "heldout")}
    assert len(heldout) > 1500
    assert not trained & heldout


def test_heldout_problems_are_in_no_training_text():
    """Lists and sums that are held out occur in no wording in what is trained on."""
    lines = [line for row in read("pretrain", "train") for line in row["text"].splitlines()]
    lines += [
        message["content"]
        for name in ("instructions", "preferences", "prompts")
        for row in read(name, "train")
        for message in row["messages"]
        if message["role"] == "user"
    ]
    for row in read("prompts", "heldout"):
        question = row["messages"][-1]["content"]
        if row["task"] in ("sort", "reverse", "copy", "count"):
            assert not any(line.startswith(question) for line in lines), question


@pytest.mark.parametrize("name", TEXT_SETS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_generator_gives_the_shipped_text(name, split, builtin_scripts):
    from scripts.builtin import make_data

    lines = path(name, split).read_text("utf-8").splitlines()
    assert len(lines) == make_data.ROWS[name][SPLITS.index(split)]
    made = [make_data.as_line(row) for row in islice(make_data.stream(name, split), 200)]
    assert lines[:200] == made


@pytest.mark.parametrize("name", PICTURE_SETS)
def test_the_generator_gives_the_shipped_pictures(name, builtin_scripts):
    from scripts.builtin import make_data

    shipped = read(name, "heldout")
    assert len(shipped) == make_data.ROWS[name][1]
    for row, made in zip(shipped[:30], make_data.stream(name, "heldout"), strict=False):
        assert np.array_equal(pixels(row), pixels(made))  # PNG bytes depend on the zlib used
        assert {**row, "images": []} == {**made, "images": []}


def pixels(row):
    (uri,) = row["images"]
    encoded = uri.removeprefix("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_sizes():
    total = sum(path(name, split).stat().st_size for name in names() for split in SPLITS)
    assert total < 6e6
