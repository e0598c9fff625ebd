"""DPO against TRL and ms-swift: processor time of an optimizer step, and peak memory.

Every contestant runs its own trainer in its own environment on the same model and rows. They take
turns step by step, so that a busy machine slows all of them alike; what counts is the processor
time of each one's processes between getting the turn and giving it back.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from environments import create

HERE = Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
SCRIPTS = {
    "swiftrl": "run_swiftrl.py",
    "trl": "run_trl.py",
    "trl-precomputed": "run_trl.py",
    "swift": "run_swift.py",
}


@dataclass
class Contestant:
    """A process that takes turns.

    Attributes:
        name: key of SCRIPTS.
        process: the process.
        file: its end of the socket.
        cpu_s: processor seconds of each step.
        peak_gib: largest resident memory so far.
    """

    name: str
    process: subprocess.Popen
    file: object
    cpu_s: list[float] = field(default_factory=list)
    peak_gib: float = 0.0

    def step(self) -> None:
        """Grant a turn and measure it."""
        before = sum(map(cpu_seconds, tree(self.process.pid)))
        self.file.write("go\n")
        self.file.flush()
        if self.file.readline().strip() != "done":
            raise SystemExit(f"{self.name} ended early; see its log.")
        self.cpu_s.append(sum(map(cpu_seconds, tree(self.process.pid))) - before)
        self.peak_gib = max(self.peak_gib, peak_gib(self.process.pid))


def tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def peak_gib(pid: int) -> float:
    """Largest resident memory of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")


def start(
    name: str,
    python: str,
    folder: Path,
    steps: int,
    server: socket.socket,
    threads: int | None,
    script: str,
    more: Sequence[str],
) -> Contestant:
    """Start a contestant and wait until it has connected."""
    log = (folder / f"{name}.log").open("w")
    command = [python, HERE / "contestants" / script, server.getsockname(), folder, name, steps]
    command += more
    process = subprocess.Popen(
        list(map(str, command)), stdout=log, stderr=log, env=environment(threads), cwd=folder
    )
    server.settimeout(600)
    file = server.accept()[0].makefile("rw")
    if file.readline().strip() != name:
        raise SystemExit(f"{name} did not start; see {log.name}.")
    return Contestant(name, process, file)


def environment(threads: int | None = None) -> dict[str, str]:
    """The same for all: so many threads, nothing fetched."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE / "contestants")]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
    }


def race(
    pythons: dict[str, str],
    shape: tuple[int, int],
    *,
    steps: int,
    threads: int | None,
    folder: Path,
    scripts: Mapping[str, str] = SCRIPTS,
    more: Sequence[str] = (),
) -> dict:
    """Run one shape; return processor seconds and memory by contestant.

    Args:
        pythons: of each contestant.
        shape: tokens of prompt and reply.
        steps: measured.
        threads: of each contestant.
        folder: for models, rows and logs.
        scripts: of each contestant.
        more: arguments of the scripts.
    """
    total = WARM_UP + steps
    prompt, reply = shape
    subprocess.run(
        [pythons["swiftrl"], HERE / "prepare.py", folder, f"--prompt={prompt}",
         f"--reply={reply}", f"--rows={4 * (total + 1)}"],
        check=True, env=environment(),
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(tempfile.mktemp(prefix="bench-", suffix=".sock"))
        server.listen()
        runners = [
            start(name, path, folder, total + 1, server, threads, scripts[name], more)
            for name, path in pythons.items()
        ]
        try:
            for step in range(total):
                for runner in runners:
                    runner.step()
                    print(f"  {runner.name} step {step}: {runner.cpu_s[-1]:.2f} s", flush=True)
        finally:
            for runner in runners:
                runner.process.kill()
                runner.process.wait()
            os.unlink(server.getsockname())
    return {
        runner.name: {"cpu_s": runner.cpu_s[WARM_UP:], "peak_gib": runner.peak_gib}
        for runner in runners
    }


def summary(result: dict, shape: tuple[int, int]) -> list[str]:
    """Lines of the report's table for one shape."""
    ours = result["swiftrl"]
    lines = []
    for name, found in result.items():
        ratios = [b / a for a, b in zip(ours["cpu_s"], found["cpu_s"], strict=True)]
        lines.append(
            f"| {shape[0]}/{shape[1]} | {name} | {statistics.median(found['cpu_s']):.2f} | "
            f"{statistics.median(ratios):.2f} | {found['peak_gib']:.2f} | "
            f"{ours['peak_gib'] / found['peak_gib']:.0%} |"
        )
    return lines


WARM_UP = 2


def main() -> None:
    """Run the shapes and write results/dpo.json and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["256/128", "512/64", "64/192"])
    parser.add_argument("--steps", type=int, default=5, help="measured steps a shape")
    parser.add_argument("--threads", type=int, help="of each contestant; unset, its own default")
    parser.add_argument("--contestants", nargs="+", choices=SCRIPTS, default=["trl", "swift"])
    parser.add_argument("--trl_python", help="Python with TRL; unset, created under .venvs")
    parser.add_argument("--swift_python", help="Python with ms-swift; unset, created")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    pythons = {"swiftrl": sys.executable}
    for name in given.contestants:
        peer = name.split("-")[0]
        if peer != "swiftrl":
            pythons[name] = getattr(given, f"{peer}_python") or create(peer)
    given.output.mkdir(parents=True, exist_ok=True)
    results, lines = {}, []
    for text in given.shapes:
        prompt, reply = map(int, text.split("/"))
        print(f"prompt {prompt}, reply {reply}", flush=True)
        folder = given.output / f"work-{prompt}-{reply}"
        results[text] = race(
            pythons, (prompt, reply), steps=given.steps, threads=given.threads, folder=folder
        )
        lines += summary(results[text], (prompt, reply))
        (given.output / "dpo.json").write_text(json.dumps(results, indent=1))
    print("\n| prompt/reply | contestant | CPU s a step | times ours | peak GiB | ours / theirs |")
    print("|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
