"""The policy: what trains, and the reference in all its forms."""

import copy

import device
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tree_models import build, forest, mixed_batch, packed

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.reference import fingerprint


def adapted(name="qwen2", *, seed=1, dropout=0.0, **changes):
    """A model with LoRA whose update is not zero."""
    settings = {"r": 4, "target_modules": "all-linear", "lora_dropout": dropout, **changes}
    model = get_peft_model(build(name), LoraConfig(task_type="CAUSAL_LM", **settings))
    torch.manual_seed(seed)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def own_logprobs(model, batch):
    rows = batch.to_rows()
    logits = model(input_ids=rows.token_ids, attention_mask=rows.attention_mask).logits
    picked = logits.flatten(0, 1)[rows.source_index].log_softmax(-1)
    return picked.gather(1, batch.target_ids[:, None]).squeeze(1)


@pytest.mark.parametrize("layout", ["tree", "rows"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["qwen2", "qwen3", "gemma2", "gpt2"])
def test_lora_values_and_gradients_equal_the_model_s_own(name, layout, fused):
    batch = mixed_batch()
    model = adapted(name)
    expected = own_logprobs(model, batch)
    factor = device.put(torch.linspace(-1, 1, len(expected)))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    expected_gradients = torch.autograd.grad((expected * factor).sum(), list(trained.values()))
    policy = Policy(model, layout=layout, fused=fused)
    logps = policy.logprobs(batch).logps
    torch.testing.assert_close(logps, expected, rtol=1e-5, atol=3e-5)
    found = torch.autograd.grad((logps * factor).sum(), list(trained.values()))
    largest = max(gradient.abs().max() for gradient in expected_gradients)
    for name, a, b in zip(trained, found, expected_gradients, strict=True):
        assert (a - b).abs().max() <= 3e-5 * largest, name


def test_reference_with_adapters_off_is_the_base_model():
    batch = mixed_batch()
    model = adapted()
    policy = Policy(model)
    policy.refer_to_itself()
    base = Policy(build("qwen2")).logprobs(batch).logps
    torch.testing.assert_close(policy.reference(batch), base, rtol=1e-5, atol=1e-5)
    assert (policy.logprobs(batch).logps - base).abs().max() > 1e-2
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)


def test_every_reference_mode_agrees(tmp_path):
    batch = mixed_batch()
    policy = Policy(adapted())
    policy.refer_to_itself()
    expected = policy.reference(batch)
    assert not expected.requires_grad
    prepared = policy.precompute(tmp_path)
    assert prepared.prepare([batch]) == len(batch.keys)
    torch.testing.assert_close(policy.reference(batch), expected, rtol=0, atol=0)
    policy.refer_to(build("qwen2"))
    torch.testing.assert_close(policy.reference(batch), expected, rtol=1e-5, atol=1e-5)


def test_copy_keeps_the_model_as_it_was():
    batch = mixed_batch()
    policy = Policy(build("qwen2"))
    before = policy.logprobs(batch).logps.detach()
    policy.refer_to_copy()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.05)
    torch.testing.assert_close(policy.reference(batch), before, rtol=1e-6, atol=1e-6)
    assert (policy.logprobs(batch).logps - before).abs().max() > 1e-2


def test_reference_may_be_other_adapters():
    batch = mixed_batch()
    model = adapted(seed=1)
    start = Policy(adapted(seed=1)).logprobs(batch).logps.detach()
    state = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    model.add_adapter("start", model.peft_config["default"])
    model.load_state_dict(
        {k.replace(".default.", ".start."): v for k, v in state.items()}, strict=False
    )
    policy = Policy(model)
    policy.refer_to_itself("start")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if ".default." in key:
                parameter.mul_(2.0)
    torch.testing.assert_close(policy.reference(batch), start, rtol=1e-5, atol=1e-5)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n in trained if ".default." in n} != set()
    assert (policy.logprobs(batch).logps - start).abs().max() > 1e-2


def test_reference_has_no_dropout_and_leaves_the_modes_alone():
    batch = mixed_batch()
    policy = Policy(adapted(dropout=0.5))
    policy.refer_to_itself()
    policy.model.train()
    frozen_part = policy.model.get_base_model().model.layers[0].mlp.eval()
    torch.testing.assert_close(policy.reference(batch), policy.reference(batch), rtol=0, atol=0)
    assert policy.model.training
    assert not frozen_part.training
    first, second = policy.logprobs(batch).logps, policy.logprobs(batch).logps
    assert (first - second).abs().max() > 1e-3


def test_precomputed_rows_are_found_whatever_the_batching(tmp_path):
    trees = forest(((6, 5, 3), (4, 7, 2), (9, 4, 4)))
    policy = Policy(adapted())
    policy.refer_to_itself()
    expected = policy.reference(packed(trees))
    policy.precompute(tmp_path).prepare([packed(trees[:2]), packed(trees[2:])])
    again = Policy(policy.model)
    again.refer_to_itself()
    cache = again.precompute(tmp_path)
    assert len(cache) == 3
    assert cache.prepare([packed(trees)]) == 0
    shuffled = packed([trees[2], trees[0], trees[1]])
    rows = packed(trees).split_by_tree(expected)
    torch.testing.assert_close(
        again.reference(shuffled), torch.cat([rows[2], rows[0], rows[1]]), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ModelError, match="1 of 1 rows"):
        again.reference(packed(forest(((2, 2, 2),), seed=9)))


def test_precomputed_file_survives_training_but_not_another_model(tmp_path):
    batch = mixed_batch()
    policy = Policy(adapted())
    policy.refer_to_itself()
    path = policy.precompute(tmp_path).path
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    policy.refer_to_itself()
    assert policy.precompute(tmp_path).path == path
    other = adapted()
    with torch.no_grad():
        other.get_base_model().lm_head.weight[3, 3] += 1
    changed = Policy(other)
    changed.refer_to_itself()
    assert changed.precompute(tmp_path).path != path
    assert batch.keys


def test_a_cut_cache_file_is_one_clear_error(tmp_path):
    policy = Policy(adapted())
    policy.refer_to_itself()
    cache = policy.precompute(tmp_path)
    cache.prepare([mixed_batch()])
    content = cache.path.read_bytes()
    cache.path.write_bytes(content[: len(content) // 2])
    policy.refer_to_itself()
    with pytest.raises(ModelError, match="Delete it"):
        policy.precompute(tmp_path)


def test_no_reference_is_one_clear_error():
    with pytest.raises(ConfigError, match="--ref_model"):
        Policy(build("qwen2")).reference(mixed_batch())
    with pytest.raises(ModelError, match="no adapters"):
        Policy(build("qwen2")).refer_to_itself()


def test_trainable_weights_become_float32_and_frozen_ones_stay():
    model = build("qwen2").bfloat16()
    model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    model = model.to(torch.bfloat16)
    policy = Policy(model, compute_dtype=torch.bfloat16)
    policy.refer_to_itself()
    dtypes = {p.requires_grad: set() for p in model.parameters()}
    for parameter in model.parameters():
        dtypes[parameter.requires_grad].add(parameter.dtype)
    assert dtypes == {True: {torch.float32}, False: {torch.bfloat16}}
    batch = mixed_batch()
    logps = policy.logprobs(batch).logps
    assert logps.dtype == torch.float32
    logps.sum().backward()
    exact = Policy(build("qwen2")).logprobs(batch).logps
    assert (policy.reference(batch) - exact).abs().mean() < 0.05
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("fused", [True, False])
def test_full_training_in_bfloat16_has_gradients_near_float32(fused):
    batch = mixed_batch()
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = build("qwen2")
        policy = Policy(model, compute_dtype=dtype, fused=fused)
        policy.logprobs(batch).logps.mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert gradients[1].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.995


@pytest.mark.parametrize(
    "changes", [{"target_modules": ["lm_head", "q_proj"]}, {"modules_to_save": ["lm_head"]}]
)
def test_adapted_heads(changes):
    batch = mixed_batch()
    model = adapted(**changes)
    if "modules_to_save" in changes:
        with torch.no_grad():
            model.get_base_model().lm_head.modules_to_save["default"].weight.add_(0.1)
    expected = own_logprobs(model, batch)
    with model.disable_adapter():
        base = own_logprobs(model, batch)
    policy = Policy(model)
    policy.refer_to_itself()
    found = policy.logprobs(batch, entropy=True)
    torch.testing.assert_close(found.logps, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(policy.reference(batch), base, rtol=1e-5, atol=1e-5)
    found.logps.sum().backward()
    heads = [p for n, p in model.named_parameters() if "lm_head" in n and p.requires_grad]
    assert heads
    assert all(p.grad is not None for p in heads)
    assert found.entropy is not None


def test_gradient_checkpointing_gives_the_same_gradients():
    batch = mixed_batch()
    gradients = []
    for checkpointing in (False, True):
        model = adapted()
        policy = Policy(model, gradient_checkpointing=checkpointing)
        model.train()
        policy.logprobs(batch).logps.sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_checkpoints_are_plain(tmp_path):
    plain, model = adapted(), adapted()
    Policy(model, compute_dtype=torch.bfloat16)
    assert list(model.state_dict()) == list(plain.state_dict())
    model.save_pretrained(tmp_path / "adapter")
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    ids = device.put(torch.tensor([[1, 2, 3]]))
    loaded = device.put(type(merged).from_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(loaded(ids).logits, plain(ids).logits, rtol=1e-4, atol=1e-4)


def test_fingerprint():
    model = build("qwen2").requires_grad_(False)
    first = fingerprint(model)
    assert fingerprint(copy.deepcopy(model)) == first
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[1, 2] += 0.5
    assert fingerprint(model) != first


def test_recomputation_asks_no_gradient_of_the_embeddings():
    """Some models add to them in place (BLT), which a gradient of a leaf forbids."""
    model = adapted()
    policy = Policy(model, layout="rows", gradient_checkpointing=True)
    model.train()
    seen = []
    embeddings = model.get_base_model().get_input_embeddings()
    embeddings.register_forward_hook(lambda _, __, out: seen.append(out.requires_grad))
    policy.logprobs(mixed_batch()).logps.sum().backward()
    assert seen and not any(seen)
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
