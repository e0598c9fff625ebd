"""Calls of torch_npu's operators, and the stand-in's references, fit the operators' schemas."""

import ast
import inspect
from pathlib import Path

import pytest
import torch
from standin.fused import OPERATORS

import swiftrl

PACKAGE = Path(swiftrl.__file__).parent


def schema_of(name: str):
    return getattr(torch.ops.npu, name).default._schema


def calls() -> list[tuple[str, ast.Call]]:
    """Return ("file:line", call) of every npu_* operator that the package calls."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr.startswith("npu_"):
                found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", node))
    return found


def mismatches(call: ast.Call) -> list[str]:
    """Return what is wrong with a call; it may hand on neither * nor ** arguments."""
    arguments = schema_of(call.func.attr).arguments
    positional = [a.name for a in arguments if not a.kwarg_only]
    by_name = [keyword.arg for keyword in call.keywords]
    if None in by_name or any(isinstance(value, ast.Starred) for value in call.args):
        return ["arguments that cannot be read from the source"]
    given = [*positional[: len(call.args)], *by_name]
    needed = {a.name for a in arguments if not a.has_default_value()}
    wrong = [f"{name}: no such argument" for name in by_name if name not in given_names(arguments)]
    wrong += [f"{name}: given twice" for name in set(given) if given.count(name) > 1]
    wrong += [f"{name}: missing" for name in sorted(needed - set(given))]
    return wrong + ["too many arguments"] * (len(call.args) > len(positional))


def given_names(arguments) -> set[str]:
    return {argument.name for argument in arguments}


def test_calls_fit_the_schemas():
    wrong = {
        f"{where} {call.func.attr}": found for where, call in calls() if (found := mismatches(call))
    }
    assert wrong == {}


def test_every_operator_that_is_called_has_a_reference():
    assert {call.func.attr for _, call in calls()} <= set(OPERATORS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("npu.npu_swiglu(x, dim=-1)", []),
        ("npu.npu_swiglu(input=x, axis=-1)", ["axis: no such argument"]),
        ("npu.npu_swiglu(dim=-1)", ["input: missing"]),
        ("npu.npu_swiglu(x, input=x)", ["input: given twice"]),
        ("npu.npu_swiglu(x, -1, True)", ["too many arguments"]),
        ("npu.npu_swiglu(**both)", ["arguments that cannot be read from the source"]),
    ],
)
def test_the_check_finds_what_is_wrong(source, expected):
    (statement,) = ast.parse(source).body
    assert mismatches(statement.value) == expected


@pytest.mark.parametrize("name", OPERATORS)
def test_references_take_what_the_schemas_name(name):
    ours = inspect.signature(OPERATORS[name]).parameters.values()
    named = [p.name for p in ours if p.kind is not inspect.Parameter.VAR_KEYWORD]
    theirs = [argument.name for argument in schema_of(name).arguments]
    takes_rest = len(named) < len(list(ours))
    assert set(named) <= set(theirs)
    assert takes_rest or set(named) == set(theirs)
    if name != "npu_grouped_matmul":  # whose keyword-only arguments stand in another order
        assert [n for n in theirs if n in named] == named


@pytest.mark.parametrize("name", OPERATORS)
def test_references_have_the_schemas_defaults(name):
    parameters = inspect.signature(OPERATORS[name]).parameters
    for argument in schema_of(name).arguments:
        if argument.name in parameters and argument.has_default_value():
            ours = parameters[argument.name].default
            theirs = argument.default_value
            assert ours == theirs, argument.name
