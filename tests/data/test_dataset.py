"""The data of a run: sampled, joined, interleaved, split, streamed, every row accounted for."""

import json
from dataclasses import replace

import pytest
import tiny_models

from swiftrl.core.errors import ConfigError, DataError
from swiftrl.data.config import DataConfig
from swiftrl.data.dataset import REJECTS_FILE, load_datasets, load_rows
from swiftrl.data.mix import permutation
from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.data.rows import RowError
from swiftrl.data.sources import Source
from swiftrl.data.stream import StreamedDataset
from swiftrl.templates.template import Template

TEMPLATE = Template.load(tiny_models.make_tokenizer())


def encoder(kind, **settings):
    return TemplateRowEncoder(TEMPLATE, kind, **settings)


def pair(number, **extra):
    row = {"prompt": f"Question {number}?", "chosen": f"good {number}", "rejected": "bad", **extra}
    return json.dumps(row)


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return Source(path.name, path)


@pytest.fixture
def config(tmp_path):
    for name, count in (("a", 6), ("b", 4)):
        write(tmp_path / f"{name}.jsonl", [pair(number) for number in range(count)])
    return DataConfig(
        dataset=[str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")],
        cache_dir=str(tmp_path / "cache"),
    )


def places(data):
    return [f"{row.origin.source[-7]}{row.origin.line}" for row in data]


def load(config, **settings):
    return load_datasets(config, encoder("preference"), seed=5, **settings)


def test_data_sets_are_joined_end_to_end(config):
    data = load(config)
    assert places(data.train) == ["a1", "a2", "a3", "a4", "a5", "a6", "b1", "b2", "b3", "b4"]
    assert data.evaluation is None
    assert data.train.lengths.tolist() == [row.num_tokens for row in data.train]


def test_a_number_draws_rows_by_the_seed_or_takes_the_first(config):
    names = [f"{config.dataset[0]}#3", f"{config.dataset[1]}#9"]
    drawn = places(load(replace(config, dataset=names)).train)
    assert drawn[:3] == [f"a{row + 1}" for row in permutation(6, 5)[:3]]
    assert sorted(drawn[3:]) == sorted([f"b{row}" for row in (1, 2, 3, 4)] * 2 + [drawn[-1]])
    first = replace(config, dataset=names, dataset_shuffle=False)
    assert places(load(first).train)[:3] == ["a1", "a2", "a3"]


def test_splitting_holds_rows_out_and_repeats_itself(config):
    config = replace(config, split_dataset_ratio=0.2)
    data = load(config)
    assert (len(data.train), len(data.evaluation)) == (8, 2)
    assert not set(places(data.train)) & set(places(data.evaluation))
    assert places(load(config).evaluation) == places(data.evaluation)
    assert load(config).train.fingerprint == data.train.fingerprint
    other = load(replace(config, data_seed=6))
    assert other.train.fingerprint != data.train.fingerprint


def test_the_fingerprint_follows_what_rows_hold_not_where_they_lie(config, tmp_path):
    before = load(config).train.fingerprint
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes((tmp_path / "a.jsonl").read_bytes())
    elsewhere = [str(moved), config.dataset[1]]
    assert load(replace(config, dataset=elsewhere)).train.fingerprint == before
    write(moved, [pair(number) for number in (0, 1, 2, 3, 4, 9)])
    assert load(replace(config, dataset=elsewhere)).train.fingerprint != before


def test_given_evaluation_data_go_before_the_split(config):
    config = replace(
        config,
        dataset=config.dataset[:1],
        val_dataset=config.dataset[1:],
        split_dataset_ratio=0.5,
    )
    data = load(config)
    assert (len(data.train), places(data.evaluation)) == (6, ["b1", "b2", "b3", "b4"])


def test_interleaving(config):
    config = replace(config, interleave_prob=[0.5, 0.5])
    order = places(load(config).train)
    for name in "ab":
        rows = [place for place in order if place[0] == name]
        assert rows == [f"{name}{number + 1}" for number in range(len(rows))]
    with pytest.raises(ConfigError, match="3 numbers for 2 data sets"):
        load(replace(config, interleave_prob=[0.2, 0.3, 0.5]))


def test_bad_and_long_rows_are_counted_and_written(config, tmp_path, capsys):
    lines = [pair(1), '{"prompt": "x"}', pair(2, chosen="long " * 90)]
    write(tmp_path / "a.jsonl", lines)
    config = replace(config, strict=False)
    deleting = encoder("preference", max_length=60, truncation_strategy="delete")
    data = load_datasets(config, deleting, seed=5, rejects_folder=tmp_path / "out")
    assert places(data.train) == ["a1", "b1", "b2", "b3", "b4"]
    saved = [json.loads(line) for line in (tmp_path / "out" / REJECTS_FILE).open()]
    assert [(item["line"], item["cause"]) for item in saved] == [(2, "bad"), (3, "too_long")]
    assert saved[0]["row"] == {"prompt": "x"}
    assert saved[1]["reason"].endswith("max_length is 60.")
    said = capsys.readouterr()
    assert "1 rows deleted (longer than max_length); 1 bad rows set aside" in said.out
    assert "2 rows were set aside in" in said.err

    write(tmp_path / "a.jsonl", [pair(1)])
    load_datasets(config, deleting, seed=5, rejects_folder=tmp_path / "out")
    assert not (tmp_path / "out" / REJECTS_FILE).exists()


def test_deleting_long_rows_needs_no_permission_but_bad_rows_stop(config, tmp_path):
    write(tmp_path / "a.jsonl", [pair(1), pair(2, chosen="long " * 90)])
    deleting = encoder("preference", max_length=60, truncation_strategy="delete")
    assert len(load_datasets(config, deleting, seed=5).train) == 5
    write(tmp_path / "a.jsonl", [pair(1), '{"prompt": "x"}'])
    with pytest.raises(RowError, match=r"a\.jsonl:2: row needs \"rejected_response\""):
        load_datasets(config, deleting, seed=5)


def test_no_data_set_is_a_setting_forgotten(config):
    with pytest.raises(ConfigError, match="--dataset is missing"):
        load(replace(config, dataset=[]))


def test_rows_as_objects_follow_the_same_numbers(config, tmp_path):
    names = [f"{config.dataset[0]}#3"]
    rows, rejects = load_rows(config, names, "preference", seed=5)
    assert [row.origin.line for row in rows] == [int(row) + 1 for row in permutation(6, 5)[:3]]
    assert rejects == []
    write(tmp_path / "a.jsonl", ["{broken", pair(1)])
    with pytest.raises(RowError):
        load_rows(config, config.dataset, "preference", seed=5)
    lenient = replace(config, strict=False)
    rows, rejects = load_rows(lenient, config.dataset[:1], "preference", seed=5)
    assert (len(rows), len(rejects)) == (1, 1)


# --- streaming --------------------------------------------------------------------------------


def stream(config, **settings):
    config = replace(config, streaming=True, **settings)
    return StreamedDataset(config, encoder("preference"), 5)


def test_a_stream_gives_every_row_once_an_epoch_in_an_order_of_its_own(config):
    data = stream(config)
    first, second = list(data), list(data)
    assert sorted(places(first)) == sorted(places(second)) == sorted(places(load(config).train))
    assert places(first) != places(second)
    assert places(stream(config)) == places(first)
    unshuffled = stream(config, dataset_shuffle=False)
    assert places(unshuffled) == places(load(config).train)


def test_a_stream_takes_the_first_n_and_interleaves(config):
    names = [f"{config.dataset[0]}#2", config.dataset[1]]
    data = stream(config, dataset=names, dataset_shuffle=False)
    assert places(data) == ["a1", "a2", "b1", "b2", "b3", "b4"]
    mixed = {"interleave_prob": [0.5, 0.5], "dataset_shuffle": False}
    assert places(stream(config, **mixed)) == places(load(replace(config, **mixed)).train)


def test_a_stream_stops_at_bad_rows_or_sets_them_aside(config, tmp_path):
    write(tmp_path / "a.jsonl", [pair(1), "{broken"])
    with pytest.raises(RowError, match=r"a\.jsonl:2: not JSON"):
        list(stream(config))
    data = stream(config, strict=False)
    assert len(list(data)) == 5
    assert [item.origin.line for item in data.rejects] == [2]
    write(tmp_path / "a.jsonl", ["{broken"])
    with pytest.raises(DataError, match="none of the 1 rows can be used"):
        list(stream(config, dataset=config.dataset[:1], strict=False))


def test_a_stream_cannot_be_split(config):
    with pytest.raises(ConfigError, match="give --val_dataset"):
        stream(config, split_dataset_ratio=0.1)


def test_a_stream_writes_rows_set_aside_once(config, tmp_path, capsys):
    write(tmp_path / "a.jsonl", [pair(1), "{broken", '{"prompt": "x"}'])
    (tmp_path / REJECTS_FILE).write_text("of an older run")
    settings = replace(config, streaming=True, strict=False)
    data = StreamedDataset(settings, encoder("preference"), 5, rejects_folder=tmp_path)
    for _ in range(2):
        list(data)
    saved = [json.loads(line) for line in (tmp_path / REJECTS_FILE).open()]
    assert sorted(item["line"] for item in saved) == [2, 3]
    assert capsys.readouterr().err.count("such rows are set aside in") == 1


def test_columns_that_no_row_has_are_named(config, capsys):
    load_datasets(
        replace(config, columns={"prompt": "prompt", "promptt": "query"}),
        encoder("preference"),
        seed=5,
    )
    assert "--columns names promptt, which none of the first rows has" in capsys.readouterr().err
