"""The list of torch_npu's operators is what the code calls; on device "npu", what torch_npu has."""

import ast
import inspect

import pytest

from swiftrl.backends import npu_operators
from swiftrl.backends.detect import BACKENDS
from swiftrl.backends.npu_operators import OPERATORS


def calls():
    """Operators called in the module, with their keywords."""
    for node in ast.walk(ast.parse(inspect.getsource(npu_operators))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Attribute) and owner.attr == "npu":
                assert not node.args, "operators are called by keyword"
                yield node.func.attr, [keyword.arg for keyword in node.keywords]


def test_the_list_is_what_is_called():
    found = {}
    for name, keywords in calls():
        found.setdefault(name, set()).update(keywords)
    assert found == {name: set(keywords) for name, keywords in OPERATORS.items()}


@pytest.mark.ascend
@pytest.mark.skipif(not BACKENDS.get("ascend").available(), reason="no device npu here")
@pytest.mark.parametrize("name", OPERATORS)
def test_torch_npu_has_them(name):
    import torch

    schema = getattr(torch.ops.npu, name).default._schema
    theirs = [argument.name for argument in schema.arguments]
    assert [argument for argument in OPERATORS[name] if argument not in theirs] == []
