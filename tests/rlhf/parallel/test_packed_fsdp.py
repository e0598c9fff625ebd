"""Packed weights in parts: every process reads them as they are, scales not rounded.

python test_packed_fsdp.py FOLDER TYPE [nf4]: how many layers FSDP2 gathers to other weights than
those of a plain load, a line of JSON.
"""

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from quantised_files import save_quantised
from tiny_models import make_model
from tiny_models import save_model as save_plain
from tiny_run import environment

from swiftrl.backends.detect import BACKENDS
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.models.load import load_model
from swiftrl.models.resolve import resolve
from swiftrl.quant.linear import QuantLinear
from swiftrl.quant.scheme import Scheme
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.parallel.choose import choose_parallel
from swiftrl.rlhf.parallel.config import ParallelConfig

SCHEMES = {
    "gptq": Scheme(4, 16),
    "gptq_v2": Scheme(8, 16, symmetric=False),
    "awq": Scheme(4, 16, symmetric=False),
    "compressed_tensors": Scheme(8, -1),
}


def load(folder, kind, quantisation, place):
    config = ModelConfig(torch_dtype=kind)
    resolved, backend = resolve(folder), BACKENDS.get("cpu")
    return load_model(resolved, config, backend, quantisation=quantisation, place=place).model


def digests(model):
    layers = {n: m for n, m in model.named_modules() if isinstance(m, QuantLinear)}
    return {
        name: hashlib.sha256(layer.unpacked(torch.float32).numpy().tobytes()).hexdigest()
        for name, layer in layers.items()
    }


def compare(folder, kind, *methods):
    quantisation = QuantLoadConfig(quant_method="nf4") if methods else None
    wanted = digests(load(folder, kind, quantisation, "device"))
    processes = Processes.start(BACKENDS.get("cpu"), timeout_s=60)
    backend, dtype = BACKENDS.get("cpu"), getattr(torch, kind)
    parallel = choose_parallel(ParallelConfig(fsdp="fsdp2"), processes, backend, dtype)
    model = load(folder, kind, quantisation, parallel.place)
    parallel.prepare(model)
    found, logits = {}, []

    def gather():
        hooks = [
            layer.register_forward_pre_hook(lambda m, _, n=n: found.update(digests_of(n, m)))
            for n, layer in model.named_modules()
            if isinstance(layer, QuantLinear)
        ]
        logits.append(model(input_ids=torch.arange(5, 25)[None], use_cache=False).logits)
        for hook in hooks:
            hook.remove()

    def digests_of(name, module):
        return {name: hashlib.sha256(module.unpacked(torch.float32).numpy().tobytes()).hexdigest()}

    with torch.no_grad():
        parallel.run(model, gather)
    processes.leave()
    different = [name for name, digest in wanted.items() if found.get(name) != digest]
    return processes.rank, [len(wanted), len(different)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", [*SCHEMES, "nf4"])
def test_gathered_weights_are_those_of_the_files(name, kind, tmp_path):
    folder, model = tmp_path / "model", make_model("Qwen2", tied=False)
    if name == "nf4":
        save_plain(folder, model)
    else:
        save_quantised(folder, model, name, SCHEMES[name])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environ = environment()
    environ["PYTHONPATH"] += ":" + ":".join(sys.path)
    words = [__file__, str(folder), kind, *(["nf4"] if name == "nf4" else [])]
    done = subprocess.run(
        [*command, *words], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    found = dict(json.loads(line) for line in lines)
    assert found.keys() == {0, 1}
    for layers, different in found.values():
        assert layers == 2 * 7
        assert different == 0


if __name__ == "__main__":
    print(json.dumps(compare(*sys.argv[1:])))
