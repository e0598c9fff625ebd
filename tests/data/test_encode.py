"""Encoded rows: the cache, worker processes, rows set aside."""

import errno
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from letter_encoders import Dies, Letters

from swiftrl.core.errors import DataError, MachineError
from swiftrl.data.encode import EncodeJob, encode_sources
from swiftrl.data.rows import RowError
from swiftrl.data.sources import Source
from swiftrl.data.store import StoreWriter


def pair(number, **extra):
    row = {"prompt": f"Question {number}?", "chosen": f"good {number}", "rejected": "bad", **extra}
    return json.dumps(row)


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return Source(path.name, path)


def rows_of(store):
    return [store[number] for number in range(len(store))]


@pytest.fixture
def job(tmp_path):
    return EncodeJob(Letters([]), cache_dir=tmp_path / "cache")


def test_rows_come_back_as_they_were_encoded(tmp_path, job):
    source = write(tmp_path / "a.jsonl", [pair(1), "", pair(22)])
    store, rejects = encode_sources([source], job)
    assert rejects == []
    assert [str(row.origin) for row in rows_of(store)] == ["a.jsonl:1", "a.jsonl:3"]
    assert rows_of(store)[1].sequences[0].token_ids.tolist() == list(map(ord, "Question 22?"))
    assert rows_of(store)[1].columns == {"label": 12.0}
    assert store.row_tokens.tolist() == [11, 12]
    assert rows_of(pickle.loads(pickle.dumps(store))) == rows_of(store)
    with pytest.raises(IndexError):
        store[2]


def test_the_second_time_nothing_is_encoded(tmp_path, job):
    source = write(tmp_path / "a.jsonl", [pair(1), pair(2)])
    first, _ = encode_sources([source], job)
    elsewhere = Source("moved.jsonl", source.path)
    second, _ = encode_sources([elsewhere], job)
    assert job.encoder.calls == [1, 2]
    assert rows_of(second)[0].sequences == rows_of(first)[0].sequences
    assert str(second[0].origin) == "moved.jsonl:1"


@pytest.mark.parametrize("change", ["content", "encoder", "picks", "strict", "no cache"])
def test_whatever_matters_makes_it_encode_again(tmp_path, job, change):
    source = write(tmp_path / "a.jsonl", [pair(1), pair(2)])
    encode_sources([source], job)
    picks = None
    if change == "content":
        text = source.path.read_text().replace("good 1", "fine 1")
        source.path.write_text(text)
    elif change == "encoder":
        job = replace(job, encoder=replace(job.encoder, fingerprint="other"))
    elif change == "picks":
        picks = np.array([0, 1])
    elif change == "strict":
        job = replace(job, strict=False)
    else:
        job = replace(job, use_cache=False)
    encode_sources([source], job, picks)
    assert job.encoder.calls == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("token_ids", lambda data: data[:-1]),
        ("token_ids", lambda data: b"\xff" + data[1:]),
        ("row_lines", lambda data: b""),
        ("store.json", lambda data: data[:-9]),
        ("store.json", lambda data: b"[]"),
        ("rejects.json", lambda data: b"{"),
        ("loss_weights", None),
    ],
)
def test_a_damaged_cache_is_made_again(tmp_path, job, capsys, name, damage):
    source = write(tmp_path / "a.jsonl", [pair(1)])
    expected = rows_of(encode_sources([source], job)[0])
    file = next(job.cache_dir.rglob(name))
    file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
    store, _ = encode_sources([source], job)
    assert rows_of(store) == expected
    assert job.encoder.calls == [1, 1]
    assert "damaged and is made again" in capsys.readouterr().err


def test_a_run_killed_while_encoding_leaves_no_store(tmp_path, job):
    source = write(tmp_path / "a.jsonl", [pair(1), "{broken"])
    with pytest.raises(RowError, match=r"^a\.jsonl:2: not JSON"):
        encode_sources([source], job)
    assert list(job.cache_dir.rglob("store.json")) == []


def test_a_full_disk_is_the_machines_fault_and_leaves_nothing(tmp_path, job, monkeypatch):
    def full(self, name, array):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StoreWriter, "_write", full)
    source = write(tmp_path / "a.jsonl", [pair(1)])
    with pytest.raises(MachineError, match="no space left"):
        encode_sources([source], job)
    assert [path for path in job.cache_dir.rglob("*") if path.is_file()] == [
        next(job.cache_dir.rglob(".*.lock"))
    ]


def test_bad_rows_are_set_aside_and_remembered(tmp_path, job):
    job = replace(job, strict=False)
    lines = [pair(1), "{broken", '{"other": 1}', pair(4), "[]"]
    source = write(tmp_path / "a.jsonl", lines)
    for _ in range(2):
        store, rejects = encode_sources([source], job)
        assert [row.origin.line for row in rows_of(store)] == [1, 4]
        assert [(item.origin.line, item.cause) for item in rejects] == [
            (2, "bad"),
            (3, "bad"),
            (5, "bad"),
        ]
        assert [item.to_json()["row"] for item in rejects] == ["{broken", {"other": 1}, []]


def test_when_no_row_is_left_it_is_an_error_even_without_strict(tmp_path, job):
    source = write(tmp_path / "a.jsonl", ['{"x": 1}', '{"x": 2}'])
    with pytest.raises(DataError) as caught:
        encode_sources([source], replace(job, strict=False))
    assert str(caught.value) == (
        "a.jsonl: none of the 2 rows can be used. The first, a.jsonl:1: no prompt"
    )


def test_only_picked_records_are_encoded(tmp_path, job):
    sources = [
        write(tmp_path / "a.jsonl", [pair(0), pair(1)]),
        write(tmp_path / "b.jsonl", [pair(2), pair(3), "{never read"]),
    ]
    store, _ = encode_sources(sources, job, np.array([3, 1]))
    assert [str(row.origin) for row in rows_of(store)] == ["a.jsonl:2", "b.jsonl:2"]
    assert store.row_records.tolist() == [1, 3]


@pytest.fixture
def many(tmp_path):
    return [pair("x" * (number % 7)) for number in range(2100)]


def test_processes_give_the_same_store_and_the_same_first_error(tmp_path, many):
    source = write(tmp_path / "a.jsonl", many)
    stores = [
        encode_sources([source], EncodeJob(Letters([]), num_proc=n, cache_dir=tmp_path / str(n)))
        for n in (1, 2)
    ]
    files = [
        {path.name: path.read_bytes() for path in store.folder.iterdir()} for store, _ in stores
    ]
    assert files[0] == files[1]

    many[700] = many[1900] = "{broken"
    source = write(tmp_path / "b.jsonl", many)
    with pytest.raises(RowError, match=r"^b\.jsonl:701: "):
        encode_sources([source], EncodeJob(Letters([]), num_proc=2, cache_dir=tmp_path / "2"))


def test_a_worker_that_dies_is_reported(tmp_path, many):
    source = write(tmp_path / "a.jsonl", many)
    with pytest.raises(MachineError, match="Lower --dataset_num_proc"):
        encode_sources([source], EncodeJob(Dies(), num_proc=2, cache_dir=tmp_path / "c"))
