"""What ties code to one kind of hardware stands under swiftrl/backends and nowhere else.

The rules read syntax trees. A line whose comment says that it works on the host may use double
precision, or wait for the device in code that runs inside every layer.
"""

import ast
import io
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import swiftrl

PACKAGE = Path(swiftrl.__file__).parent
DEVICES = ("cuda", "npu", "mps", "xpu", "musa", "mlu", "torch_npu")
COLLECTIVES = ("nccl", "hccl")
LIBRARIES = ("triton", "flash_attn", "flash_attn_interface", "bitsandbytes", "liger_kernel",
             "deepspeed", "vllm", "xformers", "apex", "torch_npu")  # fmt: skip
WIDE = ("float64", "double", "complex", "complex32", "complex64", "complex128", "cfloat", "cdouble",
        "polar", "view_as_complex")  # fmt: skip
WAITS = ("item", "tolist", "nonzero", "cpu", "numpy", "unique", "masked_select", "argwhere")
EVERY_LAYER = ("fused", "fused_mlp", "fused_ops", "last_layer", "logprobs", "tree_attention",
               "block_attention", "widen", "surrogate", "offline", "advantages")  # fmt: skip

Found = Iterator[tuple[int, str]]


def device_names(tree: ast.AST) -> Found:
    """Names of devices: torch.cuda, x.npu(), "cuda:0", imports of their modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in (*DEVICES, "is_cuda", "is_npu"):
            yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.split(":")[0] in (*DEVICES, *COLLECTIVES):
                yield node.lineno, repr(node.value)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in _modules(node):
                if set(name.split(".")) & set(DEVICES):
                    yield node.lineno, f"import {name}"


def double_precision(tree: ast.AST) -> Found:
    """float64 and complex numbers of torch, which some accelerators lack."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in WIDE:
            continue
        owner = node.value
        of_torch = isinstance(owner, ast.Name) and owner.id == "torch"
        if of_torch or node.attr in ("double", "cfloat", "cdouble", "view_as_complex"):
            yield node.lineno, ast.unparse(node)


def waits(tree: ast.AST) -> Found:
    """What makes the host wait for the device: its values, or shapes that depend on them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            yield node.lineno, f".{node.func.attr}()"
        elif isinstance(node.func, ast.Name) and node.func.id in ("bool", "float", "int"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Attribute) and inner.attr in ("any", "all", "max", "sum"):
                    yield node.lineno, f"{node.func.id}(...{inner.attr}())"
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Compare):
            yield node.lineno, f"[{ast.unparse(node.slice)}]"


def libraries(tree: ast.AST) -> Found:
    """Imports of libraries for one kind of hardware as soon as the module is imported."""
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Try, ast.If))
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in guarded:
            for name in _modules(node):
                if name.split(".")[0] in LIBRARIES:
                    yield node.lineno, f"import {name} at the top"


def chip_versions(tree: ast.AST) -> Found:
    """Questions about a chip's number (None on an NPU): ask backend.capabilities instead."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in (
            "get_device_capability", "get_device_properties", "get_device_name", "is_bf16_supported"
        ):  # fmt: skip
            yield node.lineno, f".{node.attr}"


def forks(tree: ast.AST) -> Found:
    """Worker processes that fork, which hangs once a device is in use."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in ("fork", "forkserver"):
            yield node.lineno, repr(node.value)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "os.fork":
            yield node.lineno, "os.fork"


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


def broken(source: str, rule: Callable[[ast.AST], Found]) -> list[str]:
    """Return "line: what" where a rule is broken and no comment says that it is on the host."""
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and "host" in token.string.lower()
    }
    excusable = rule in (double_precision, waits)
    found = sorted(set(rule(ast.parse(source))))
    return [
        f"{line}: {what}" for line, what in found if not (excusable and {line, line - 1} & comments)
    ]


FILES = sorted(PACKAGE.rglob("*.py"))
OUTSIDE = [path for path in FILES if "backends" not in path.relative_to(PACKAGE).parts]
RULES = (device_names, double_precision, chip_versions, forks, libraries)


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_only_backends_know_hardware(path):
    source = path.read_text(encoding="utf-8")
    assert [f for rule in RULES for f in broken(source, rule)] == []


@pytest.mark.parametrize("path", [p for p in FILES if p not in OUTSIDE], ids=name_of)
def test_backends_import_without_their_libraries(path):
    assert broken(path.read_text(encoding="utf-8"), libraries) == []


@pytest.mark.parametrize("name", EVERY_LAYER)
def test_nothing_waits_for_the_device_in_every_layer(name):
    source = (PACKAGE / "rlhf" / f"{name}.py").read_text(encoding="utf-8")
    assert broken(source, waits) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (device_names, "torch.cuda.is_available()"),
        (device_names, "x.cuda()"),
        (device_names, "x.npu()"),
        (device_names, "x.to('cuda:0')"),
        (device_names, "x.to(f'npu:{rank}')"),
        (device_names, "device = 'npu'"),
        (device_names, "if x.is_cuda: pass"),
        (device_names, "init('nccl')"),
        (device_names, "import torch_npu"),
        (device_names, "from torch.cuda import amp"),
        (device_names, "from torch import mps"),
        (device_names, "from torch.npu.amp import GradScaler"),
        (device_names, "def f():\n    import torch_npu"),
        (double_precision, "x.to(torch.float64)"),
        (double_precision, "x.double()"),
        (double_precision, "torch.zeros(2, dtype=torch.double)"),
        (double_precision, "torch.view_as_complex(x)"),
        (double_precision, "torch.polar(a, b)"),
        (double_precision, "torch.complex(a, b)"),
        (double_precision, "y = 1  # on the host\n\nx.double()"),
        (waits, "n = loss.item()"),
        (waits, "rows = index.tolist()"),
        (waits, "mask.nonzero()"),
        (waits, "x[x > 0]"),
        (waits, "if bool(mask.any()): pass"),
        (waits, "float(x.sum())"),
        (waits, "x.cpu()"),
        (waits, "torch.masked_select(x, m)"),
        (waits, "torch.unique(x)"),
        (libraries, "import triton"),
        (libraries, "import triton.language as tl"),
        (libraries, "from flash_attn import flash_attn_varlen_func"),
        (libraries, "import bitsandbytes as bnb"),
        (libraries, "from liger_kernel.ops.rms_norm import LigerRMSNormFunction"),
        (libraries, "if sys.platform == 'linux':\n    import triton"),
        (chip_versions, "if torch.get_device_module().get_device_capability()[0] >= 8: pass"),
        (chip_versions, "torch.get_device_module().get_device_properties(0)"),
        (forks, "multiprocessing.get_context('fork')"),
        (forks, "os.fork()"),
    ],
)  # fmt: skip
def test_each_rule_finds(rule, source):
    assert broken(source, rule)


@pytest.mark.parametrize(
    "source",
    [
        "'On CUDA or an NPU, cuda kernels run.'\nx.device.type",
        "total = torch.tensor(v, dtype=torch.float64)  # on the host",
        "# On the host: some accelerators have no double precision.\nx = y.double()",
        "np.zeros(2, np.float64)",
        "def f():\n    from flash_attn import flash_attn_func",
        "try:\n    import triton\nexcept ImportError:\n    triton = None",
        "if TYPE_CHECKING:\n    import bitsandbytes",
        "torch.get_device_module(device.type).synchronize()",
        "get_context('spawn')",
    ],
)
def test_the_rules_let_pass(source):
    assert [f for rule in RULES for f in broken(source, rule)] == []


def test_a_comment_excuses_only_where_it_can():
    assert broken("x.cuda()  # on the host", device_names)
    assert broken("import triton  # host", libraries)
    assert not broken("rows = index.tolist()  # on the host already", waits)
