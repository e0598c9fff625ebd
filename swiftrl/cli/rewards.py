"""The rewards that the settings name: functions, and models with a head of scores."""

from __future__ import annotations

from dataclasses import replace

from swiftrl.backends.base import Backend
from swiftrl.cli.loading import find_model
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.engine.scores import RewardModel
from swiftrl.models.config import ModelConfig
from swiftrl.models.heads import scores_in, scores_tokens
from swiftrl.models.load import load_model
from swiftrl.models.resolve import Resolved
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.load import load_rewards
from swiftrl.rlhf.rewards.models import check_scores, model_reward, model_reward_name
from swiftrl.rlhf.rewards.reward import Reward
from swiftrl.templates.source import TemplateOptions
from swiftrl.templates.template import Template

__all__ = ["all_rewards", "check_rewards"]


def check_rewards(settings: Settings, longest: int | None) -> None:
    """Say what is wrong with rewards before any weights are loaded.

    Args:
        settings: of the run.
        longest: most tokens of a reply.

    Raises:
        ConfigError: there are none, or one of them will not do.
    """
    config = settings[RewardConfig]
    if not config.reward_funcs and not config.reward_model:
        raise ConfigError(
            "--reward_funcs is missing: name rewards, or FILE.py:FUNCTION (--help lists them), or "
            "give a --reward_model."
        )
    load_rewards(config, max_completion_length=longest)
    for name in config.reward_model:
        found = _found(settings, name)
        check_scores(name, scores_in(found), stepwise=scores_tokens(found))


def all_rewards(
    settings: Settings, backend: Backend, *, longest: int | None, batch_size: int
) -> list[Reward]:
    """Return the functions, then the models, loaded, each with its own template.

    Args:
        settings: of the run.
        backend: where models go.
        longest: most tokens of a reply.
        batch_size: conversations of a model's forward pass.
    """
    functions = load_rewards(settings[RewardConfig], max_completion_length=longest)
    names = settings[RewardConfig].reward_model
    others = [*names, *(reward.name for reward in functions)]
    models = []
    for name in names:
        resolved = _found(settings, name)
        loaded = load_model(resolved, settings[ModelConfig], backend, scores=1)
        template = Template.load(loaded.tokenizer, options=TemplateOptions())
        model = RewardModel(loaded.model.requires_grad_(False), template, max_batch_size=batch_size)
        models.append(model_reward(model_reward_name(name, others), name, model))
    return [*functions, *models]


def _found(settings: Settings, name: str) -> Resolved:
    config = replace(
        settings[ModelConfig], model=name, model_type=None, model_revision=None, adapters=[]
    )
    return find_model(config, "--reward_model")
