"""The syntax of --dataset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftrl.core.errors import DataError
from swiftrl.data.spec import DatasetSpec

WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
HUB_ID = st.builds("{}/{}".format, WORD, WORD)
SUBSETS = st.lists(WORD, max_size=3).map(tuple)
SAMPLE = st.none() | st.integers(1, 10**9)


@given(
    st.builds(
        DatasetSpec, st.just("hub"), HUB_ID, SUBSETS, SAMPLE, st.sampled_from([None, "hf", "ms"])
    )
    | st.builds(DatasetSpec, st.just("builtin"), WORD, SUBSETS, SAMPLE)
)
def test_writing_and_parsing_a_spec_gives_it_back(spec):
    assert DatasetSpec.parse(str(spec)) == spec


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text):
    try:
        spec = DatasetSpec.parse(text)
    except DataError as error:
        assert str(error)
    else:
        assert spec.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", DatasetSpec("hub", "org/name")),
        ("HF::org/name", DatasetSpec("hub", "org/name", hub="hf")),
        (
            "ms::org/name:main,socratic#20",
            DatasetSpec("hub", "org/name", ("main", "socratic"), 20, "ms"),
        ),
        ("org/name:a/b", DatasetSpec("hub", "org/name", ("a", "b"))),
        ("builtin:preferences:heldout#7", DatasetSpec("builtin", "preferences", ("heldout",), 7)),
    ],
)
def test_hub_ids_and_builtin_names(text, expected):
    assert DatasetSpec.parse(text) == expected


def test_a_path_is_a_path_with_and_without_a_number(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text("{}")
    assert DatasetSpec.parse(str(file)) == DatasetSpec("path", str(file))
    assert DatasetSpec.parse(f"{file}#12") == DatasetSpec("path", str(file), sample=12)


def test_a_path_that_exists_as_it_stands_wins(tmp_path):
    odd = tmp_path / "run:2#5.jsonl"
    odd.write_text("{}")
    assert DatasetSpec.parse(str(odd)) == DatasetSpec("path", str(odd))
    assert DatasetSpec.parse(f"{tmp_path}:test,dev") == DatasetSpec(
        "path", str(tmp_path), ("test", "dev")
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data.jsonl#many", "'#many' is no number of rows"),
        ("org/name#0", "#0 takes no rows"),
        ("gh::org/name", "unknown hub 'gh'; expected hf:: or ms::"),
        ("", "expected a file, a folder, builtin:NAME or a hub id"),
        ("org/name:", "expected a file, a folder"),
        ("no_such_folder/x.jsonl", "no such file or folder (the folder no_such_folder does not"),
    ],
)
def test_refusals_say_what_is_wrong(text, says):
    with pytest.raises(DataError) as caught:
        DatasetSpec.parse(text)
    assert says in str(caught.value)


def test_a_misspelt_file_is_answered_with_its_neighbour(tmp_path):
    (tmp_path / "preferences.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"Did you mean 'preferences\.jsonl'\?"):
        DatasetSpec.parse(str(tmp_path / "preference.jsonl"))


@pytest.mark.parametrize("text", ["~no_such_user_here/x", "a/" * 2500, "\0", "#3", ":", "::"])
def test_hostile_texts_are_refused_calmly(text):
    with pytest.raises(DataError):
        DatasetSpec.parse(text)
