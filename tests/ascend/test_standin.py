"""The stand-in itself: what would go wrong on a card goes wrong on it."""

import copy
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

HERE = Path(__file__).parent


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | variables,
    )  # fmt: skip


def last_lines(done: subprocess.CompletedProcess[str], number: int = 1) -> list[str]:
    return done.stdout.splitlines()[-number:]  # torch_npu speaks first, of CANN's variables


def assert_close(ours, theirs, **bounds):
    torch.testing.assert_close(ours.cpu(), theirs.cpu(), **bounds)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.transpose(0, 1).contiguous().sum(-1),
        lambda x: x.permute(2, 0, 1).reshape(6, -1).mean(),
        lambda x: x.topk(3)[0],
        lambda x: torch.cat([x, x]).cumsum(0),
        lambda x: (x > 0).nonzero(),
        lambda x: x.softmax(-1),
        lambda x: x[:, ::2].std(),
        lambda x: torch.where(x > 0, x, -x),
    ],
)
def test_numbers_are_the_cpus(compute):
    x = torch.randn(4, 5, 6)
    assert_close(compute(x.npu()), compute(x))


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.long, device=x.device)),
        lambda x: torch.where(x > 0, x.softmax(-1), x.matmul(x)),
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda x: F.logsigmoid(x).norm() + F.kl_div(x.log_softmax(-1), x.softmax(-1)),
        lambda x: F.binary_cross_entropy_with_logits(x, (x > 0).float()),
    ],
)
def test_gradients_are_the_cpus(compute):
    torch.manual_seed(0)
    x = torch.randn(3, 3)
    ours, theirs = x.npu().requires_grad_(), x.clone().requires_grad_()
    for value in (ours, theirs):
        compute(value).sum().backward()
    assert_close(ours.grad, theirs.grad)


def test_views_share_memory():
    x = torch.zeros(3, 1, device="npu")
    x[None].add_(1)
    x.squeeze(1).add_(1)
    x.view(-1)[1:].add_(1)
    assert x.flatten().tolist() == [2, 3, 3]


def test_training_is_the_cpus():
    torch.manual_seed(0)
    layers = (torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 10))
    ours = torch.nn.Sequential(torch.nn.Embedding(10, 8), *layers)
    theirs = copy.deepcopy(ours).npu()
    ids = torch.randint(0, 10, (2, 5))
    for model, x in ((ours, ids), (theirs, ids.npu())):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x).view(-1, 10), x.view(-1)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert_close(theirs[1].weight, ours[1].weight)


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.ones(3, device="npu") + torch.ones(3),
        lambda: torch.ones(3, device="npu:0") + torch.ones(3, device="npu:1"),
        lambda: F.embedding(torch.tensor([1]), torch.ones(3, 3, device="npu")),
        lambda: F.linear(torch.ones(2, 3), torch.ones(3, 3, device="npu")),
    ],
)
def test_mixed_devices_are_refused(call):
    with pytest.raises(RuntimeError, match="same device"):
        call()


def test_host_code_cannot_read_device_memory():
    with pytest.raises(TypeError, match="convert npu"):
        torch.ones(2, device="npu").numpy()
    read = "import torch, ctypes; x = torch.ones(1, device='npu'); "
    read += "ctypes.c_float.from_address(x.data_ptr()).value"
    assert run(read).returncode == -11  # SIGSEGV


def test_other_accelerators_are_absent():
    assert not torch.cuda.is_available()
    with pytest.raises(AssertionError):
        torch.ones(1).cuda()


def test_double_precision_is_refused_or_lost():
    assert torch.ones(1, device="npu").double().dtype == torch.float32
    with pytest.raises(RuntimeError, match="Double is not supported"):
        torch.ones(2, dtype=torch.float64, device="npu")


def test_memory_is_limited():
    wasteful = "import torch; torch.empty(2**28, device='npu')"
    assert "OutOfMemoryError" in run(wasteful, STANDIN_NPU_MIB="512").stderr
    assert run(wasteful).returncode == 0


def test_segments_expand():
    """Memory mapped piece by piece into reserved addresses, as training asks for it."""
    grow = "import torch\nx = [torch.ones(2**22 * k, device='npu') for k in range(1, 5)]\n"
    grow += "print(sum(float(t.sum()) for t in x) / 2**22, torch.npu.memory_reserved() > 0)\n"
    grow += "del x; torch.npu.empty_cache(); print(torch.npu.memory_reserved())"
    done = run(grow, PYTORCH_NPU_ALLOC_CONF="expandable_segments:True")
    assert last_lines(done, 2) == ["10.0 True", "0"], done.stderr


def test_saving_and_random_numbers():
    file = io.BytesIO()
    torch.save({"w": torch.ones(3, device="npu:1")}, file)
    file.seek(0)
    assert str(torch.load(file)["w"].device) == "npu:1"
    torch.manual_seed(7)
    first = torch.randn(5, device="npu")
    state = torch.npu.get_rng_state()
    second = torch.randn(5, device="npu")
    torch.npu.set_rng_state(state)
    assert torch.equal(second, torch.randn(5, device="npu"))
    torch.manual_seed(7)
    assert torch.equal(first, torch.randn(5, device="npu"))
    assert not torch.equal(first, second)


def test_waits_of_the_host_are_counted():
    import standin_kernels

    x = torch.arange(4.0, device="npu")
    standin_kernels.forget()
    x.sum().item()
    x[x > 1].tolist()
    waits = standin_kernels.waits()
    assert waits == {"item": 1, "aten::index": 1, "copy to the host": 1}


def test_operators_without_a_kernel_are_refused_where_asked():
    code = "import torch; torch.poisson(torch.ones(2, device='npu'))"
    done = run(code, TORCH_NPU_FALLBACK_CPU_DISABLE="1")
    assert done.returncode and "poisson" in done.stderr
    assert run(code, TORCH_NPU_FALLBACK_CPU_DISABLE="0").returncode == 0


def test_visible_devices_are_counted():
    count = "import torch; print(torch.npu.device_count())"
    assert last_lines(run(count, ASCEND_RT_VISIBLE_DEVICES="1")) == ["1"]
    assert last_lines(run(count)) == ["2"]


def test_hccl_ddp_and_fsdp_over_two_ranks():
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *words, str(HERE / "hccl_ranks.py")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "equal" in done.stdout, done.stdout + done.stderr
