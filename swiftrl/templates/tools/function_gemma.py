"""FunctionGemma."""

from swiftrl.templates.parsing.brace_calls import BraceCalls

SYNTAX = BraceCalls(item=("<start_function_call>", "<end_function_call>"), quote="<escape>")
