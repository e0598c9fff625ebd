"""Files of rows: every type, the place of every row, and what is said about broken files."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from swiftrl.core.errors import DataError
from swiftrl.data.rows import RowError
from swiftrl.data.sources import DatasetSpec, Source, iter_rows, preflight

ROWS = [{"query": "a", "response": "b"}, {"query": "c\nd", "response": "e"}]


def read(path):
    return [(row.origin.line, row.values) for row in iter_rows(DatasetSpec.parse(str(path)))]


def test_json_lines_are_numbered_as_an_editor_numbers_them(tmp_path):
    file = tmp_path / "rows.jsonl"
    text = f"\ufeff{json.dumps(ROWS[0])}\r\n\r\n   \r\n{json.dumps(ROWS[1])}"
    file.write_bytes(text.encode())
    assert read(file) == [(1, ROWS[0]), (4, ROWS[1])]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_an_array_numbers_its_elements_whatever_the_suffix(tmp_path, name):
    file = tmp_path / name
    file.write_text("\n " + json.dumps(ROWS, indent=1) + "\n", encoding="utf-8-sig")
    assert read(file) == [(1, ROWS[0]), (2, ROWS[1])]


def test_json_suffix_with_an_object_a_line(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    assert read(file) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize(("name", "mark"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_tables_give_the_line_a_row_starts_on_and_drop_empty_cells(tmp_path, name, mark):
    file = tmp_path / name
    lines = ["query|response|system", 'a|b|""', '"c\nd"|e|f', "g|h|"]
    file.write_bytes("\r\n".join(lines).replace("|", mark).encode("utf-8-sig"))
    assert read(file) == [
        (2, {"query": "a", "response": "b"}),
        (3, {"query": "c\nd", "response": "e", "system": "f"}),
        (5, {"query": "g", "response": "h"}),
    ]


def test_text_gives_a_document_a_line(tmp_path):
    file = tmp_path / "rows.txt"
    file.write_text("first\n\n  second \n")
    assert read(file) == [(1, {"text": "first"}), (3, {"text": "  second "})]


def test_gzipped_lines(tmp_path):
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(ROWS[0]).encode()))
    assert read(file) == [(1, ROWS[0])]


NESTED = [
    {"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "f", "strict": True}]},
    {"messages": [{"role": "user", "content": "b", "loss": True}], "tools": [{"name": "g"}]},
]


def test_parquet_and_arrow_lose_the_padding_of_nested_fields(tmp_path):
    table = pyarrow.Table.from_pylist(NESTED)
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=1)
    for name, new in (
        ("file.arrow", pyarrow.ipc.new_file),
        ("stream.arrow", pyarrow.ipc.new_stream),
    ):
        with new(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    expected = list(enumerate(NESTED, start=1))
    for name in ("rows.parquet", "file.arrow", "stream.arrow"):
        assert read(tmp_path / name) == expected, name
        assert Source(name, tmp_path / name).count() == 2


def test_a_data_set_saved_by_datasets_is_a_folder_of_arrow_files(tmp_path):
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert [values for _, values in read(tmp_path / "saved")] == ROWS


def test_a_folder_is_read_in_order_and_its_training_split_first(tmp_path):
    for number, name in enumerate(["b.jsonl", "a.jsonl", ".hidden.jsonl"]):
        (tmp_path / name).write_text(json.dumps({"text": str(number)}))
    (tmp_path / "README.md").write_text("about")
    assert [values["text"] for _, values in read(tmp_path)] == ["1", "0"]

    split = tmp_path / "split"
    split.mkdir()
    for name in ("train-00000-of-00001.jsonl", "test-00000-of-00001.jsonl"):
        (split / name).write_text(json.dumps({"text": name[:4]}))
    assert [values["text"] for _, values in read(split)] == ["trai"]
    assert [values["text"] for _, values in read(f"{split}:test")] == ["test"]
    with pytest.raises(DataError, match="no files of the split 'dev'; splits there: test, train"):
        read(f"{split}:dev")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b"", "a.jsonl: the file is empty."),
        ("a.jsonl", b" \n\n", "a.jsonl: the file has no rows."),
        ("a.json", b"[]", "a.json: the file has no rows."),
        ("a.jsonl", b"\x00\x01\x02", "a.jsonl:1: the file is binary"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "a.jsonl:1: the file is UTF-16; save it as UTF-8"),
        ("a.json", b'{\n"data": []\n}', "a.json:1: the file is one object over several lines"),
        ("a.json", b'[{"a": 1}, {"a": ', "a.json:2: row 2 of the array is not JSON"),
        ("a.json", b'[{"a": 1}, {"a": ', "it may have been cut short"),
        (
            "a.json",
            b'[{"a": 1} {"a": 2}]',
            "a.json:1: row 1 of the array is not JSON: Expecting ','",
        ),
        ("a.json", b'[{"a": 1}] tail', "more text behind the array"),
        ("a.json", b'[{"a": "\xff"}]', "a.json: byte 9 is not UTF-8"),
        ("a.csv", b"a,a\n1,2", "a.csv:1: the header names the column 'a' twice"),
        ("a.csv", b'a,b\n"1,2', "a.csv:2: not readable as a table"),
        ("a.csv", b"a,b\n1,\xff\xfe", "not UTF-8"),
        ("a.parquet", b"PAR1 no", "a.parquet: not a whole Parquet or Arrow file"),
        ("a.arrow", b"no arrow", "a.arrow: not a whole Parquet or Arrow file"),
        ("a.pkl", b"x", "unknown type of file; expected one of .jsonl"),
        ("a.jsonl.gz", b"not gzip", "cannot be read: Not a gzipped file"),
    ],
)
def test_broken_files(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b'{"a": 1}\n\n{"a": }\n', "a.jsonl:3: not JSON: Expecting value at column 7"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "a.jsonl:2: the row is [1]; expected an object"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xd6\xd0"}', "a.jsonl:2: byte 8 of the line is 0xd6"),
        ("a.json", b'[{"a": 1}, 5]', "a.json:2: the row is 5; expected an object"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "a.csv:3: the row has 3 cells, the header 2"),
        ("a.txt", b"ok\n\xff\n", "a.txt:2: byte 1 of the line is not UTF-8"),
    ],
)
def test_broken_rows_name_their_line(tmp_path, monkeypatch, name, data, says):
    (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RowError) as caught:
        read(name)
    assert str(caught.value).startswith(says)


def test_a_folder_without_data_says_what_would_be_data(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"holds no data files \(\.jsonl"):
        read(tmp_path)


def test_counting_agrees_with_reading(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n\n{}\nnot json\n")
    assert Source("a.jsonl", file).count() == 3


def test_preflight_opens_files_and_leaves_hubs_alone(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text("{not looked at")
    bad.write_bytes(b"\x00")
    preflight([f"{good}#3", "hf::org/name", "builtin:preferences"])
    with pytest.raises(DataError, match="the file is binary"):
        preflight([str(good), str(bad)])
    with pytest.raises(DataError, match="no such file or folder"):
        preflight([str(tmp_path / "absent.jsonl")])
