"""Builds the stand-in in a folder of its own: torch-npu's wheel, CANN's runtime, host kernels.

python build.py FOLDER
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

__all__ = ["build"]

HERE = Path(__file__).resolve().parent
CANN = ("ascendcl", "hccl", "acl_op_compiler", "ge_runner", "graph", "acl_tdt_channel",
        "ascend_ml", "msprofiler")  # fmt: skip
"""The libraries that torch_npu is linked to."""
LOOKED_UP = re.compile(r"acl[A-Z]\w+|acl(rt|mdl|op|tdt)[A-Z]\w+|Hccl[A-Z]\w+")
"""Functions it finds by name while it runs."""
WRITTEN = re.compile(r"^(?:long|ul|const char\*) (\w+)\(", re.MULTILINE)
TOOLS = ("gcc", "g++", "nm", "strings", "ldd")


def build(folder: Path) -> None:
    """Build what is not there yet, or was built from other sources or for another torch."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        stamp = folder / "built-from"
        if stamp.is_file() and stamp.read_text() == _sources():
            return
        absent = [tool for tool in TOOLS if shutil.which(tool) is None]
        if absent:
            sys.exit(f"the Ascend stand-in is compiled here and needs {', '.join(absent)}.")
        stamp.unlink(missing_ok=True)
        _get_wheel(folder / "site")
        _compile_runtime(folder / "site" / "torch_npu", folder / "lib")
        _compile_kernels(folder / "site")
        _announce(folder / "site")
        stamp.write_text(_sources())


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(
        [*HERE.glob("*.c"), *HERE.glob("*.cpp"), *HERE.glob("*.h"), HERE / "build.py"]
    ):
        digest.update(path.read_bytes())
    return f"torch {version('torch')}, Python {sys.version.split()[0]}, {digest.hexdigest()}\n"


def _get_wheel(site: Path) -> None:
    """Download the torch-npu of the installed torch: the same version."""
    wanted = version("torch").split("+")[0]
    found = list(site.glob(f"torch_npu-{wanted}*.dist-info"))
    if found and (site / "torch_npu").is_dir():
        return
    print(f"downloading torch-npu {wanted} into {site}", flush=True)
    shutil.rmtree(site, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--target", str(site), f"torch-npu=={wanted}.*"], check=True)
    # Here, so that nobody who imports it meets the warnings of its docstrings.
    compileall = [sys.executable, "-W", "ignore", "-m", "compileall", "-q", str(site / "torch_npu")]
    subprocess.run(compileall, check=True)


def _torch() -> Path:
    spec = importlib.util.find_spec("torch")  # found, not imported: that would load torch_npu
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _compile_runtime(torch_npu: Path, lib: Path) -> None:
    """Compile cann_runtime.c and a function that returns 0 for all else that torch_npu wants."""
    print("compiling CANN's runtime", flush=True)
    ours = [*torch_npu.glob("lib/*.so"), *torch_npu.glob("_C*.so")]
    theirs = [*(_torch() / "lib").glob("*.so*")]
    loaded = _output("ldd", *theirs)
    theirs += [Path(path) for path in set(re.findall(r"/[^ \n:]+", loaded)) if Path(path).is_file()]
    needed = {name for path in ours for name, kind in _symbols(path, "undefined") if kind == "U"}
    present = {name for path in [*ours, *theirs] for name, _ in _symbols(path, "defined")}
    texts = _output("strings", "-n", "6", torch_npu / "lib" / "libtorch_npu.so").split()
    wanted = {name for name in needed - present if not name.startswith(("Py", "_Py"))}
    wanted |= {text for text in texts if LOOKED_UP.fullmatch(text)}
    source = (HERE / "cann_runtime.c").read_text()
    others = sorted(wanted - set(WRITTEN.findall(source)))
    lib.mkdir(exist_ok=True)
    whole = lib / "cann.c"
    whole.write_text(source + "".join(f"long {name}() {{ return 0; }}\n" for name in others))
    options = ["-w", "-O1", "-shared", "-fPIC", "-fno-builtin"]
    built = lib / "cann.so"
    subprocess.run(["gcc", *options, str(whole), "-o", str(built)], check=True)
    for name in CANN:
        shutil.copy(built, lib / f"lib{name}.so")


def _compile_kernels(site: Path) -> None:
    print("compiling the host's kernels", flush=True)
    torch = _torch()
    name = "standin_kernels"
    include = [torch / "include", torch / "include/torch/csrc/api/include"]
    options = ["-fPIC", "-std=c++20", "-O1", "-g0", "-w", "-DUSE_C10D",
               f"-DTORCH_EXTENSION_NAME={name}", f"-I{sysconfig.get_path('include')}"]  # fmt: skip
    options += [word for path in include for word in ("-isystem", str(path))]
    libraries = [f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"]
    out = site / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    objects = {HERE / f"{part}.cpp": site / f"{part}.o" for part in ("kernels", "hccl")}
    compilers = [
        subprocess.Popen(["g++", "-c", *options, str(source), "-o", str(compiled)])
        for source, compiled in objects.items()
    ]
    codes = [compiler.wait() for compiler in compilers]
    if any(codes):
        sys.exit("the host's kernels could not be compiled; the compiler says why.")
    linked = ["g++", "-shared", *map(str, objects.values()), *libraries, "-o", str(out)]
    subprocess.run(linked, check=True)


def _announce(site: Path) -> None:
    """Write the entry point through which torch loads the kernels by itself."""
    info = site / "standin-0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[torch.backends]\nstandin = standin.autoload:start\n")


def _symbols(path: Path, which: str) -> set[tuple[str, str]]:
    """Return (name, kind) of the symbols that a library defines, or wants."""
    lines = map(str.split, _output("nm", "-D", f"--{which}-only", path).splitlines())
    return {(words[-1].split("@")[0], words[-2]) for words in lines}


def _output(*words: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    ).stdout


if __name__ == "__main__":
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    build(Path(sys.argv[1]).resolve())
