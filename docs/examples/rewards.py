"""Rewards of your own, e.g. `--reward_funcs docs/examples/rewards.py:brief`."""


def brief(completions, **columns):
    """Return 1 for an empty reply, falling to 0 at 200 characters."""
    return [max(1 - len(completion) / 200, 0) for completion in completions]


def near(completions, answer):
    """Return how near a number is to the column `answer`; None where that is no number."""
    return [closeness(*pair) for pair in zip(completions, answer, strict=True)]


def closeness(completion, answer):
    """Return 1 for the number itself, 1/2 for one that is 1 away, and so on."""
    try:
        wanted = float(answer)
    except (TypeError, ValueError):
        return None  # cannot be scored; 0 would say that the reply is bad
    try:
        found = float(completion.split()[-1].strip("."))
    except (IndexError, ValueError):
        return 0.0
    return 1 / (1 + abs(found - wanted))
