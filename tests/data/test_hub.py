"""Hub data sets, with the hub played by local objects."""

import datasets
import pytest

from swiftrl.core.errors import DataError
from swiftrl.data import hub
from swiftrl.data.sources import DatasetSpec, iter_rows, resolve

ROWS = [{"prompt": "a", "tags": {"x": 1, "y": None}}, {"prompt": "b", "tags": {"x": None, "y": 2}}]


@pytest.fixture
def loaded(monkeypatch):
    """Replace the download; the list receives what was asked for."""
    asked = []

    def load_dataset(*names, **settings):
        asked.append((*names, settings["split"], settings["streaming"]))
        made = datasets.Dataset.from_list(ROWS)
        return made.to_iterable_dataset() if settings["streaming"] else made

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_of_every_subset_with_their_numbers(loaded, streaming):
    spec = DatasetSpec.parse("hf::org/data:one,two")
    rows = list(iter_rows(spec, streaming=streaming))
    assert [str(row.origin) for row in rows] == [
        "hf::org/data:one:1",
        "hf::org/data:one:2",
        "hf::org/data:two:1",
        "hf::org/data:two:2",
    ]
    assert rows[1].values == {"prompt": "b", "tags": {"y": 2}}
    assert loaded == [
        ("org/data", "one", "train", streaming),
        ("org/data", "two", "train", streaming),
    ]


def test_the_hub_without_a_prefix_is_modelscope_unless_use_hf():
    spec = DatasetSpec.parse("org/data")
    assert resolve(spec)[0][0].hub_split == ("ms", "org/data", None, "train")
    assert resolve(spec, use_hf=True)[0][0].hub_split == ("hf", "org/data", None, "train")


def test_modelscope_is_downloaded_and_read_from_its_folder(loaded, monkeypatch):
    import types

    download = types.SimpleNamespace(dataset_snapshot_download=lambda name: f"/cache/{name}")
    monkeypatch.setattr(hub, "require", lambda name, **_: download)
    rows = list(iter_rows(DatasetSpec.parse("ms::org/data"), streaming=True))
    assert loaded == [("/cache/org/data", None, "train", False)]
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("no"),
            "org/data on Hugging Face: there is no such data set, or it is private. Check the "
            "spelling; ms::org/data looks on ModelScope.",
        ),
        (ConnectionError("hf_abcdefghijkl"), "the site cannot be reached and the data set is not"),
        (
            ValueError("Config name is missing. Pick one of ['a', 'b']"),
            "Pick one of ['a', 'b']. A subset is named like this: org/data:SUBSET.",
        ),
        (RuntimeError("Bearer abcdefghijklmn refused"), "Bearer *** refused"),
    ],
)
def test_failures_say_what_to_do_and_show_no_token(monkeypatch, error, says):
    def load_dataset(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        list(iter_rows(DatasetSpec.parse("hf::org/data")))
    assert says in str(caught.value)
    assert "hf_abc" not in str(caught.value)
