"""LLaMA-Factory's dataset_info.json, beside a file or named."""

import json

import pytest

from swiftrl.core.errors import DataError
from swiftrl.data.schema import detect_kind, to_row
from swiftrl.data.sources import DatasetSpec, iter_rows, resolve

TAGS = {
    "role_tag": "speaker",
    "content_tag": "said",
    "user_tag": "customer",
    "assistant_tag": "agent",
    "system_tag": "sys",
    "observation_tag": "result",
    "function_tag": "call",
}
INFO = {
    "ranked": {
        "file_name": "ranked.json",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "chosen": "good", "rejected": "bad"},
        "tags": TAGS,
    },
    "alpaca_ranked": {
        "file_name": "alpaca_ranked.json",
        "ranking": True,
        "columns": {"prompt": "q", "system": "sys", "chosen": "good", "rejected": "bad"},
    },
    "old_ranked": {"file_name": "old_ranked.json", "ranking": True},
    "kto": {
        "file_name": "kto.json",
        "columns": {"prompt": "q", "response": "a", "kto_tag": "ok"},
    },
    "documents": {"file_name": "documents.json", "columns": {"prompt": "content"}},
    "openai": {"file_name": "openai.json", "formatting": "openai", "num_samples": 1},
    "hub": {"hf_hub_url": "org/data", "subset": "en", "split": "test", "columns": {"prompt": "q"}},
    "both": {"hf_hub_url": "org/hf", "ms_hub_url": "org/ms"},
    "nowhere": {"columns": {"prompt": "q"}},
    "missing": {"file_name": "missing.json"},
    "shape": {"file_name": "ranked.json", "formatting": "xml"},
    "list": {"file_name": "ranked.json", "columns": ["q"]},
    "number": {"file_name": 5},
    "column": {"file_name": "ranked.json", "columns": {"promt": "q"}},
}
ROWS = {
    "ranked": {
        "talk": [
            {"speaker": "sys", "said": "s"},
            {"speaker": "customer", "said": "q"},
            {"speaker": "call", "said": '{"name": "f", "arguments": {}}'},
            {"speaker": "result", "said": "r"},
        ],
        "good": {"speaker": "agent", "said": "yes"},
        "bad": {"speaker": "agent", "said": "no"},
        "id": 7,
    },
    "alpaca_ranked": {"q": "q", "sys": "s", "good": "yes", "bad": "no"},
    "old_ranked": {"instruction": "q", "input": "", "output": ["yes", "no"]},
    "kto": {"q": "q", "a": "yes", "ok": True},
    "documents": {"content": "Once."},
    "openai": {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]
    },
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dataset_info.json").write_text(json.dumps(INFO))
    for name, row in ROWS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([row]))
    return tmp_path


def first(text, **settings):
    return next(iter_rows(DatasetSpec.parse(text), **settings))


@pytest.mark.parametrize("form", ["{0}/{1}.json", "{0}:{1}", "{0}/dataset_info.json:{1}"])
def test_a_ranked_file_with_its_own_tags(folder, form):
    row = to_row(first(form.format(folder, "ranked")), "preference")
    assert [message.role for message in row.conversation.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert row.conversation.messages[2].tool_calls[0].name == "f"
    assert (row.chosen[0].content, row.rejected[0].content) == ("yes", "no")
    assert row.extra == {"id": 7}
    assert str(row.origin) == f"{folder}/ranked.json:1"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("alpaca_ranked", "preference"),
        ("old_ranked", "preference"),
        ("kto", "labelled"),
        ("documents", "text"),
        ("openai", "instruction"),
    ],
)
def test_the_other_forms(folder, name, kind):
    raw = first(f"{folder}/{name}.json")
    assert detect_kind(raw) == kind
    assert to_row(raw, kind)


def test_a_name_is_looked_up_in_the_given_file(folder):
    assert first("kto", dataset_info=str(folder)).values["output"] == "yes"
    with pytest.raises(DataError, match="Did you mean 'kto'"):
        resolve(DatasetSpec("path", str(folder), ("ktoo",)))


def test_hub_entries_carry_subset_split_and_hub(folder):
    source = resolve(DatasetSpec("path", str(folder), ("hub",)))[0][0]
    assert source.hub_split == ("hf", "org/data", "en", "test")
    both = DatasetSpec("path", str(folder), ("both",))
    assert resolve(both)[0][0].hub_split[:2] == ("ms", "org/ms")
    assert resolve(both, use_hf=True)[0][0].hub_split[:2] == ("hf", "org/hf")


def test_num_samples_counts_unless_the_spec_says_otherwise(folder):
    assert resolve(DatasetSpec.parse(f"{folder}:openai"))[1] == 1
    assert resolve(DatasetSpec.parse(f"{folder}:openai#5"))[1] == 5


def test_a_row_without_the_promised_column(folder):
    (folder / "kto.json").write_text('[{"question": "q"}]')
    with pytest.raises(DataError, match=r"kto\.json:1: 'kto' in .* the column \"q\""):
        first(f"{folder}/kto.json")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "has neither file_name nor hf_hub_url nor ms_hub_url"),
        ("missing", "names the file missing.json, which does not exist there"),
        ("shape", 'has the formatting "xml"; expected alpaca, sharegpt, openai'),
        ("list", 'columns is ["q"]; expected an object of names.'),
        ("number", "file_name is 5; expected text."),
        ("column", "maps the column 'promt', which is unknown. Did you mean 'prompt'?"),
    ],
)
def test_broken_entries(folder, name, says):
    with pytest.raises(DataError) as caught:
        resolve(DatasetSpec("path", str(folder), (name,)))
    assert says in str(caught.value)


def test_a_folder_without_a_name_lists_the_names(folder):
    with pytest.raises(DataError, match=r"name the data set, .* has ranked, alpaca_ranked"):
        resolve(DatasetSpec.parse(str(folder)))


def test_an_info_file_of_datasets_is_left_alone(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"features": {"text": {"dtype": "string"}}}')
    (tmp_path / "a.jsonl").write_text('{"text": "x"}')
    assert first(str(tmp_path / "a.jsonl")).values == {"text": "x"}
    assert first(str(tmp_path)).values == {"text": "x"}


def test_a_broken_info_file_is_named(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    (tmp_path / "a.jsonl").write_text('{"text": "x"}')
    with pytest.raises(DataError, match=r"dataset_info\.json: not JSON"):
        first(str(tmp_path / "a.jsonl"))
