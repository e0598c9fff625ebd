import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from swiftrl.rlhf.stored import StoredTensors, part_files, rows_of, write_part

WHOLE = {"a/x": torch.arange(15.0).view(5, 3), "a/y": torch.arange(2.0), "b/x": torch.ones(9, 1)}


@pytest.fixture(scope="module", params=[1, 2, 3, 4, 7])
def parts(request, tmp_path_factory):
    """Written by as many processes; some hold nothing of the smaller tensors."""
    folder, count = tmp_path_factory.mktemp("parts"), request.param
    for number in range(count):
        held = {k: (v[rows_of(len(v), number, count)], v.shape) for k, v in WHOLE.items()}
        held["a/step"] = (torch.tensor(7.0), torch.Size([]))
        write_part(folder, held, number, count)
    return part_files(folder)


@given(start=st.integers(0, 10), stop=st.integers(0, 10))
def test_any_rows_of_parts_are_those_of_the_whole(parts, start, stop):
    stored = StoredTensors(parts, "a/")
    assert set(stored) == {"x", "y", "step"}
    assert stored["step"] == 7.0
    for name in ("x", "y"):
        whole = WHOLE[f"a/{name}"]
        assert stored.shape(name) == whole.shape
        assert torch.equal(stored[name], whole)
        assert torch.equal(stored.rows(name, slice(start, stop)), whole[start:stop])


def test_whole_tensors_are_read_by_rows_too(tmp_path):
    save_file(WHOLE, tmp_path / "whole.safetensors")
    stored = StoredTensors([tmp_path / "whole.safetensors"])
    assert stored.keys() == WHOLE.keys()
    assert torch.equal(stored.rows("b/x", slice(2, 5)), WHOLE["b/x"][2:5])


@given(rows=st.integers(0, 40), parts=st.integers(1, 9))
def test_parts_are_those_of_torch(rows, parts):
    expected = [list(chunk) for chunk in torch.arange(rows).chunk(parts)] if rows else []
    found = [list(torch.arange(rows)[rows_of(rows, number, parts)]) for number in range(parts)]
    assert found == expected + [[]] * (parts - len(expected))
