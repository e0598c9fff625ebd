"""Errors that a user can act on.

    SwiftRLError            exit code 2: something the user can put right
    |-- ConfigError         a flag, a YAML key or a combination of them
    |-- DataError           a data file or a row
    |-- TemplateError       a chat template, or a conversation it cannot render
    |-- ModelError          a model folder, id, checkpoint or adapter
    |-- BackendError        hardware that is absent or lacks a capability
    |-- EngineError         generation
    |-- RewardError         a reward function that fails, or does not fit the data
    |-- EvalError           evaluation
    |-- ExportError         export
    `-- MachineError        exit code 1: the machine's fault (disk full, out of memory, ...)

A message says where, what was found, what was expected and what to do. The command line prints
it without a traceback.
"""

__all__ = [
    "BackendError",
    "ConfigError",
    "DataError",
    "EngineError",
    "EvalError",
    "ExportError",
    "MachineError",
    "ModelError",
    "RewardError",
    "SwiftRLError",
    "TemplateError",
]


class SwiftRLError(Exception):
    """Base of every error that is reported to the user without a traceback."""

    exit_code = 2


class ConfigError(SwiftRLError):
    """A setting is unknown, malformed or contradicts another."""


class DataError(SwiftRLError):
    """A data file cannot be read, or a row does not fit."""


class TemplateError(SwiftRLError):
    """A chat template is missing, broken, or refuses a conversation."""


class ModelError(SwiftRLError):
    """A model, checkpoint or adapter cannot be found, read or used."""


class BackendError(SwiftRLError):
    """The hardware is absent or cannot do what was asked."""


class EngineError(SwiftRLError):
    """Generation failed or was asked for something impossible."""


class RewardError(SwiftRLError):
    """A reward function raised, hung or returned what is no reward, or lacks a column."""


class EvalError(SwiftRLError):
    """Evaluation failed."""


class ExportError(SwiftRLError):
    """Export failed."""


class MachineError(SwiftRLError):
    """The machine failed the user: no space, no memory, a lost process."""

    exit_code = 1
