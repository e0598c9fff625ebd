"""A plan's arithmetic against what autograd is seen to keep, and against counted parameters."""

import dataclasses

import numpy as np
import pytest
import torch
import transformers

from swiftrl.backends.products import exact_sums, product_dtype
from swiftrl.core.errors import ConfigError
from swiftrl.data.batch import Tree as DataTree
from swiftrl.data.batch import pack
from swiftrl.models.config import TunerConfig
from swiftrl.models.lora import add_lora
from swiftrl.models.towers import prepare_full
from swiftrl.rlhf.planning.activations import kept_by_layer
from swiftrl.rlhf.planning.choices import Choices, Device
from swiftrl.rlhf.planning.memory import plan_memory
from swiftrl.rlhf.planning.quantised import quantisation, stored_quantisation
from swiftrl.rlhf.planning.remedies import remedies
from swiftrl.rlhf.planning.shape import read_shape
from swiftrl.rlhf.planning.workload import Tree
from swiftrl.rlhf.policy import Policy

GIB = 2**30
CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "pad_token_id": 0,
    "eos_token_id": 1, "bos_token_id": None,
}  # fmt: skip
EXPERTS = {
    "moe_intermediate_size": 48,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "head_dim": 16,
}


def make(kind: str, layers: int, dtype: torch.dtype, **sizes):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES | sizes, num_hidden_layers=layers)
    return getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype)


def device(dtype: torch.dtype, **changes) -> Device:
    """This machine's processor."""
    here = Device(
        "cpu", True, 8 * GIB, 0, 0.0, product_dtype(CPU, dtype) == dtype,
        exact_sums(CPU, dtype) is not None,
    )  # fmt: skip
    return dataclasses.replace(here, **changes)


def choices(model, *, full: bool = False, dtype=torch.bfloat16, **changes) -> Choices:
    linears = {
        name
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and "lm_head" not in name
    }
    settings = Choices(
        full=full, dtype_bytes=dtype.itemsize, adapted=frozenset(linears),
        frozen_towers=frozenset(), rank=8, dropout=False, saved=0, quantisation=None,
        trees=(Tree(100, (60, 60), (60, 60)),) * 2, layout="tree", patches=0, accumulation=1,
        checkpointing=False, offload_activations=False, reference="none", states=2, processes=1,
        sharding="none", offload=False,
    )  # fmt: skip
    return dataclasses.replace(settings, **changes)


def batch_of(trees):
    chance = np.random.default_rng(0)

    def some(count):
        return chance.integers(2, 500, count).astype(np.int32)

    return pack(
        [
            DataTree(
                some(tree.prompt),
                tuple(map(some, tree.replies)),
                tuple(np.ones(n, dtype=np.float32) for n in tree.replies),
            )
            for tree in trees
        ]
    )


def saved_bytes(policy: Policy, batch) -> int:
    """Bytes of the storages that autograd keeps, the parameters' own aside."""
    own = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = policy.logprobs(batch)
    assert output.logps.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize(
    ("kind", "full", "dtype", "layout", "dropout", "sizes"),
    [
        ("Qwen2", False, torch.bfloat16, "tree", 0.0, {}),
        ("Qwen2", False, torch.bfloat16, "tree", 0.05, {}),
        ("Qwen2", False, torch.bfloat16, "rows", 0.0, {}),
        ("Qwen2", False, torch.float32, "tree", 0.0, {}),
        ("Qwen2", True, torch.bfloat16, "tree", 0.0, {}),
        ("Qwen2", True, torch.bfloat16, "rows", 0.0, {}),
        ("Qwen2", True, torch.float32, "rows", 0.0, {}),
        ("Qwen3", False, torch.bfloat16, "tree", 0.0, {"head_dim": 16}),
        ("Llama", False, torch.float32, "tree", 0.05, {"num_key_value_heads": 4}),
        ("Gemma2", False, torch.float32, "tree", 0.0, {"head_dim": 16}),
        ("Qwen3Moe", False, torch.float32, "tree", 0.0, EXPERTS),
        ("Qwen3Moe", True, torch.bfloat16, "tree", 0.0, EXPERTS),
    ],
)
def test_formulas_give_what_autograd_keeps_of_a_layer(kind, full, dtype, layout, dropout, sizes):
    """Of a layer: four layers keep twice two layers' difference more than two."""
    counted = []
    for layers in (2, 4):
        model = make(kind, layers, dtype, **sizes)
        shape = read_shape(model, None)
        explicit = kind == "Gemma2"
        plan = choices(
            model, full=full, dtype=dtype, dropout=dropout > 0, layout=layout, explicit=explicit
        )
        tuner = TunerConfig(tuner_type="full" if full else "lora", lora_dropout=dropout)
        if full:
            prepare_full(model, tuner, None)
        else:
            model = add_lora(model, tuner)
        policy = Policy(model, layout=layout, compute_dtype=dtype)
        policy.model.train()
        counted.append(saved_bytes(policy, batch_of(plan.trees)))
    found = (counted[1] - counted[0]) / 2
    arithmetic = plan.arithmetic(device(dtype))
    layer = shape.layers[0]
    expected = kept_by_layer(layer, plan.batch(), arithmetic, plan.tuning(), plan.batch().tokens)
    if full and arithmetic.casts:
        expected += sum(linear.size for linear in layer.linears) * arithmetic.result
    assert expected == pytest.approx(found, rel=0.06)


@pytest.mark.parametrize(
    ("kind", "sizes"), [("Qwen2", {"tie_word_embeddings": True}), ("Qwen3Moe", EXPERTS)]
)
def test_parameters_are_counted_without_weights(kind, sizes):
    with torch.device("meta"):
        bare = make(kind, 3, torch.bfloat16, **sizes)
    shape = read_shape(bare, None)
    real = make(kind, 3, torch.bfloat16, **sizes)
    assert shape.parameters == sum(p.numel() for p in real.parameters())
    adapted = add_lora(real, TunerConfig(lora_rank=8))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    names = frozenset(
        name.removeprefix("base_model.model.")
        for name, part in adapted.named_modules()
        if hasattr(part, "lora_A") and len(part.lora_A)
    )
    assert choices(bare, adapted=names).trained(shape) == trained
    assert choices(bare, full=True).trained(shape) == shape.parameters


@pytest.mark.parametrize(
    ("method", "bits", "group", "expected"),
    [
        # 4 bits, an 8-bit scale for each 64, a float32 for each 256 of these.
        ("bnb", 4, None, 4 + 8 / 64 + 32 / (64 * 256)),
        ("nf4", None, None, 4 + 8 / 64 + 32 / (64 * 256)),
        ("bnb", 8, None, 8),
        ("gptq", 4, 128, 4 + 20 / 128),
        ("awq", None, 64, 4 + 20 / 64),
        ("gptq", 3, None, 3 + 19 / 128),
    ],
)
def test_bits_of_quantised_weights(method, bits, group, expected):
    assert quantisation(method, bits, group).bytes * 8 == pytest.approx(expected)


def test_quantisation_refuses_bits_that_a_method_lacks():
    with pytest.raises(ConfigError, match="awq has 4"):
        quantisation("awq", 3, None)


def test_without_double_quantisation_a_scale_is_a_float32():
    assert quantisation("bnb", 4, None, double=False).bytes * 8 == 4 + 32 / 64


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": False}, 8),
    ],
)
def test_bits_of_weights_in_files(section, expected):
    assert stored_quantisation(section).bytes * 8 == pytest.approx(expected)


def test_files_of_an_unknown_kind_are_refused():
    with pytest.raises(ConfigError, match="quantised by 'exl3'"):
        stored_quantisation({"quant_method": "exl3"})


def shape_of_70b():
    with torch.device("meta"):
        config = transformers.LlamaConfig(
            vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
            num_attention_heads=64, num_key_value_heads=8,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    return model, read_shape(model, None)


def test_70b_with_lora_fits_48_gib_in_four_bits_and_not_in_sixteen():
    """Weights: 68.45e9 of layers at 4.127 bits and 2.1e9 of embedding and head at 16: 36.8 GiB."""
    model, shape = shape_of_70b()
    assert shape.parameters == pytest.approx(70.55e9, rel=1e-3)
    card = Device("card", False, 48 * GIB, GIB, 0.05)
    plan = choices(
        model, trees=(Tree(1024, (1024, 1024), (1024, 1024)),), checkpointing=True, accumulation=16,
        reference="adapters",
    )  # fmt: skip
    assert plan_memory(shape, plan, card).total > 130 * GIB
    found = {remedy.flags: remedy for remedy in remedies(shape, plan, card)}
    four = found["--quant_method nf4"]
    assert four.fits
    assert four.memory.parts["weights"] / GIB == pytest.approx(36.8, abs=0.1)
    assert any(flags.startswith("--fsdp fsdp2 with") and r.fits for flags, r in found.items())


def test_sharding_divides_what_it_says():
    model = make("Llama", 4, torch.float32)
    shape = read_shape(model, None)
    card = Device("card", False, GIB, 0, 0.0)
    whole = plan_memory(shape, choices(model, full=True, accumulation=2), card).parts

    def parts(way, *, offload=False):
        plan = choices(model, full=True, processes=4, sharding=way, offload=offload, accumulation=2)
        return plan_memory(shape, plan, card).parts

    assert parts("zero1")["optimizer"] == whole["optimizer"] / 4
    assert parts("zero1")["gradients"] == whole["gradients"]
    assert parts("zero2")["gradients"] == whole["gradients"] / 4
    assert parts("zero2")["masters"] == whole["masters"]
    for way in ("zero3", "fsdp2"):
        assert parts(way)["masters"] == whole["masters"] / 4
        assert parts(way)["optimizer"] == whole["optimizer"] / 4
    assert parts("zero3", offload=True)["optimizer"] == 0


def test_what_saves_memory_needs_less():
    model = make("Qwen2", 4, torch.bfloat16)
    shape = read_shape(model, None)
    here = device(torch.bfloat16)
    plan = choices(model, full=True, reference="copy")
    most = plan_memory(shape, plan, here).total
    for change in (
        {"checkpointing": True},
        {"reference": "precomputed"},
        {"trees": plan.trees[:1]},
        {"full": False},
        {"states": 0},
    ):
        assert plan_memory(shape, dataclasses.replace(plan, **change), here).total < most
    assert plan_memory(shape, plan.shortened(80), here).total < most


def test_settings_are_combined_where_none_suffices_alone():
    model = make("Qwen2", 4, torch.bfloat16, vocab_size=64)
    shape = read_shape(model, None)
    plan = choices(model, full=True, reference="copy", trees=(Tree(600, (60, 60), (60, 60)),) * 8)
    least = min(r.memory.total for r in remedies(shape, plan, device(torch.bfloat16, memory=1)))
    small = device(torch.bfloat16, memory=int(least * 1.01))
    found = remedies(shape, plan, small)
    assert not any(remedy.fits for remedy in found if not remedy.together)
    last = found[-1]
    assert last.together
    assert last.fits
    assert "--gradient_checkpointing true" in last.flags
    assert "--tuner_type lora" in last.flags


def test_a_frozen_tower_neither_trains_nor_keeps_anything():
    model = make("Qwen2", 2, torch.bfloat16)
    shape = read_shape(model, None)
    towers = dataclasses.replace(
        shape, sizes={"language": shape.parameters, "vision": 1000}, encoder=shape.layers
    )
    frozen = choices(model, full=True, frozen_towers=frozenset({"vision"}), patches=500)
    free = dataclasses.replace(frozen, frozen_towers=frozenset())
    assert free.trained(towers) - frozen.trained(towers) == 1000
    here = device(torch.bfloat16)
    kept = [plan_memory(towers, plan, here).parts["activations"] for plan in (frozen, free)]
    assert kept[1] > kept[0]
