"""Compiled decoder layers: values and gradients to rounding, and few programs."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_fused_kernels import outcome, same
from tree_models import SHAPES, build, forest, mixed_batch

from swiftrl.core.errors import ConfigError
from swiftrl.data.batch import pack
from swiftrl.rlhf import policy as policies
from swiftrl.rlhf.compiling import compile_layers, uncompiled
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.tree_attention import sdpa_kernel

ADAPTERS = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])


@pytest.fixture
def programs(monkeypatch):
    """Graphs compiled, by a compiler that runs them as they are."""
    torch._dynamo.reset()
    found = []

    def compiler(graph, _):
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(policies, "compile_layers", lambda lm: compile_layers(lm, backend=compiler))
    yield found
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("name", "checkpointing"), [("qwen2", False), ("gemma2", True), ("mixtral", True)]
)
def test_traced_layers_train_alike(programs, name, checkpointing):
    batch, model = mixed_batch(), build(name)
    model.set_experts_implementation("eager")
    model = get_peft_model(model, copy.deepcopy(ADAPTERS)).train()
    expected = outcome(Policy(copy.deepcopy(model), fused=False, kernel=sdpa_kernel), batch)
    policy = Policy(model, compiled=True, kernel=sdpa_kernel, gradient_checkpointing=checkpointing)
    assert not programs
    same(outcome(policy, batch), expected, 2e-5)
    assert programs


@pytest.mark.skipif(
    torch.__version__.startswith("2.10."), reason="torch 2.10 makes a program for more lengths"
)
def test_other_lengths_and_layers_share_programs(programs):
    policy = Policy(build("qwen3", num_hidden_layers=6), compiled=True, kernel=sdpa_kernel)
    policy.logprobs(mixed_batch())
    policy.logprobs(pack(forest(((9, 3, 4), (2, 6)))))
    before = len(programs)
    for count in range(1, 6):
        policy.logprobs(pack(forest(SHAPES[:count], seed=count)))
    assert len(programs) == before < 12


def test_a_copy_as_reference_and_names_stay(programs):
    model = build("qwen2")
    names = list(model.state_dict())
    policy = Policy(model, compiled=True, kernel=sdpa_kernel)
    policy.refer_to_copy()
    batch = mixed_batch()
    torch.testing.assert_close(
        policy.reference(batch), policy.logprobs(batch).logps.detach(), rtol=1e-5, atol=1e-5
    )
    assert list(model.state_dict()) == names


def test_models_without_a_list_of_layers_are_refused():
    with pytest.raises(ConfigError, match="--torch_compile"):
        compile_layers(build("gpt2"))


def test_a_kernel_that_compiles_itself_still_does():
    found = []

    def compiler(graph, _):
        found.append(graph)
        return graph.forward

    inner = torch.compile(lambda x: x * 2, backend=compiler)
    kernel = uncompiled(lambda query, *_: inner(query))
    assert kernel(torch.ones(2), None, None, None, None).tolist() == [2, 2]
    assert len(found) == 1


@pytest.mark.slow
def test_compiled_layers_train_alike():
    torch._dynamo.reset()
    batch, model = mixed_batch(), build("qwen3")
    expected = outcome(Policy(copy.deepcopy(model), fused=False, kernel=sdpa_kernel), batch)
    policy = Policy(model, compiled=True, kernel=sdpa_kernel, gradient_checkpointing=True)
    model.train()
    same(outcome(policy, batch), expected, 2e-5)
