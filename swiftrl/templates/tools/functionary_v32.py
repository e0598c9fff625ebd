"""Functionary 3.2: >>>name and JSON on the next line, ">>>all" before the answer."""

from swiftrl.templates.parsing.named_calls import NamedCalls

SYNTAX = NamedCalls(before=">>>", between="\n", joint="\n", frames=(">>>all\n",))
