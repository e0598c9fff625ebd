"""Functionary 2.2: messages to recipients, "all" being the user."""

from swiftrl.templates.parsing.named_calls import NamedCalls

SYNTAX = NamedCalls(
    before="<|from|>assistant\n<|recipient|>",
    between="\n<|content|>",
    joint="\n",
    frames=(
        "<|from|>assistant\n<|recipient|>all\n<|content|>",
        "all\n<|content|>",
    ),
)
