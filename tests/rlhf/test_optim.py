import pytest
import torch
from torch import nn

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.optim import (
    LossScale,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    scale_and_clip,
    set_rate,
    trainable_parameters,
)


def test_trainable_weights_are_widened_and_others_left():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).bfloat16()
    model[0].requires_grad_(False)
    found = trainable_parameters(model)
    assert set(found) == {"1.weight", "1.bias"}
    assert found["1.weight"].dtype == torch.float32
    assert model[0].weight.dtype == torch.bfloat16


def test_a_model_that_cannot_train_is_refused():
    with pytest.raises(ConfigError, match="no weight of the model is trainable"):
        trainable_parameters(nn.Linear(2, 2).requires_grad_(False))


def test_decay_shrinks_matrices_and_spares_vectors():
    layer = nn.Linear(2, 2)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = make_optimizer(
        dict(layer.named_parameters()), TrainConfig(weight_decay=0.5), fused=False
    )
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(layer.weight, torch.full((2, 2), 0.95))  # 1 - 0.1 * 0.5
    assert torch.equal(layer.bias, torch.ones(2))


def test_the_second_matrices_of_lora_learn_faster():
    names = {
        "q_proj.lora_A.default.weight": 0.1, "q_proj.lora_B.default.weight": 1.6,
        "embed.lora_embedding_B.default": 1.6, "q_proj.bias": 0.1,
    }  # fmt: skip
    layers = {name: nn.Parameter(torch.zeros(2 if "bias" in name else (2, 2))) for name in names}
    config = TrainConfig(optim="sgd", lorap_lr_ratio=16.0)
    optimizer = make_optimizer(layers, config, fused=False)
    set_rate(optimizer, 0.1)
    for parameter in layers.values():
        parameter.grad = -torch.ones_like(parameter)
    optimizer.step()
    for name, moved in names.items():
        assert torch.allclose(layers[name], torch.full_like(layers[name], moved)), name


def test_gradients_are_divided_then_clipped():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([6.0, 8.0])
    assert scale_and_clip([parameter], 0.5, max_norm=1.0) == pytest.approx(5.0)
    assert torch.allclose(parameter.grad, torch.tensor([0.6, 0.8]))
    parameter.grad = torch.tensor([6.0, 8.0])
    scale_and_clip([parameter], 0.5, max_norm=0.0)
    assert torch.allclose(parameter.grad, torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize("fused", [False, True])
def test_state_survives_a_round_trip_bit_for_bit(fused):
    def steps(layer, optimizer, start, stop):
        for number in range(start, stop):
            for index, parameter in enumerate(layer.parameters()):
                parameter.grad = torch.full_like(parameter, 0.1 * number + index)
            optimizer.step()

    layers = [nn.Linear(3, 3), nn.Linear(3, 3)]
    layers[1].load_state_dict(layers[0].state_dict())
    names = [dict(layer.named_parameters()) for layer in layers]
    optimizers = [make_optimizer(name, TrainConfig(), fused=fused) for name in names]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.01
    steps(layers[0], optimizers[0], 0, 5)
    layers[1].load_state_dict(layers[0].state_dict())
    tensors = optimizer_tensors(optimizers[0], names[0])
    assert set(tensors) >= {"exp_avg/weight", "exp_avg_sq/bias", "step/weight"}
    load_optimizer_tensors(optimizers[1], names[1], tensors)
    for layer, optimizer in zip(layers, optimizers, strict=True):
        steps(layer, optimizer, 5, 8)
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert torch.equal(layers[0].bias, layers[1].bias)


def test_a_state_of_another_model_is_refused():
    layer = nn.Linear(3, 3)
    names = dict(layer.named_parameters())
    optimizer = make_optimizer(names, TrainConfig(), fused=False)
    with pytest.raises(ModelError, match=r"a state for other \(3, 3\), which is absent"):
        load_optimizer_tensors(optimizer, names, {"exp_avg/other": torch.zeros(3, 3)})
    with pytest.raises(ModelError, match=r"which is \(3, 3\) in this run"):
        load_optimizer_tensors(optimizer, names, {"exp_avg/weight": torch.zeros(4, 3)})


def test_loss_scale_halves_on_overflow_and_grows_again():
    scale = LossScale(torch.float16)
    start = scale.value
    assert scale.update(finite=False)
    assert scale.value == start / 2
    for _ in range(LossScale.GROWTH_STEPS):
        assert not scale.update(finite=True)
    assert scale.value == start
    scale.value = LossScale.LOWEST
    assert not scale.update(finite=False), "at the lowest scale the rows are to blame"


def test_loss_scale_is_one_for_other_types():
    scale = LossScale(torch.bfloat16)
    assert not scale.update(finite=False)
    assert scale.value == 1.0
