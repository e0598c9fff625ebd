"""Libraries kept from reporting what this package reports, or deals with, itself."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator

__all__ = ["quiet_peft", "quiet_transformers"]


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' warnings, and its progress bars unless a person watches.

    What it imports on the way (DeepSpeed looks for devices, and says so) is silenced with it.
    """
    from transformers.utils import logging as hf_logging

    level, bar = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    if not sys.stderr.isatty():
        hf_logging.disable_progress_bar()
    others = logging.root.manager.disable
    logging.disable(max(others, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(others)
        hf_logging.set_verbosity(level)
        if bar:
            hf_logging.enable_progress_bar()


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence PEFT's notes on tied weights and merged layers, which are dealt with here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\b.*")
        warnings.filterwarnings("ignore", message=r"`is_gradient_checkpointing`")
        yield
