"""xLAM: a bare JSON list, the whole reply."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(where="reply", block=("[", "]"), joint=", ", bare=True)
