"""Nemotron Nano 1 and 2, Llama-Nemotron: a JSON list between <TOOLCALL> tags."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(block=("<TOOLCALL>[", "]</TOOLCALL>"), joint=", ")
