"""The list of torch_npu's operators is what the code calls.

That torch_npu has them so is tested in tests/ascend.
"""

import ast
import inspect

from swiftrl.backends import npu_operators
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
