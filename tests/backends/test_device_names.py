import ast
from pathlib import Path

import pytest

import swiftrl

PACKAGE = Path(swiftrl.__file__).parent
DEVICES = ("cuda", "npu", "mps", "torch_npu")


def names_of_devices(source: str) -> list[str]:
    """Return "line: what" for every device named in a module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in DEVICES:
            found.append(f"{node.lineno}: .{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.split(":")[0] in DEVICES:
                found.append(f"{node.lineno}: {node.value!r}")
        elif isinstance(node, ast.Import):
            found += [f"{node.lineno}: import {n.name}" for n in node.names if "npu" in n.name]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("torch.cuda", "torch_npu", "torch.mps")
        ):
            found.append(f"{node.lineno}: from {node.module}")
    return found


FILES = [
    path for path in PACKAGE.rglob("*.py") if "backends" not in path.relative_to(PACKAGE).parts
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_backends_name_devices(path):
    assert names_of_devices(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.cuda.is_available()",
        "x.cuda()",
        "x.to('cuda:0')",
        "device = 'npu'",
        "import torch_npu",
        "from torch.cuda import amp",
    ],
)
def test_the_walk_finds(source):
    assert names_of_devices(source)


def test_the_walk_lets_words_pass():
    assert names_of_devices("'On CUDA or an NPU, cuda kernels run.'\nx.device.type") == []
