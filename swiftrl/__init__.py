"""Align, evaluate and ship open language and vision-language models."""

__version__ = "0.1.0"
