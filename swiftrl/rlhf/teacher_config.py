"""Settings of the teacher."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["TeacherConfig"]


@dataclass(frozen=True)
class TeacherConfig:
    """Teacher."""

    teacher_model: str | None = setting(
        None, "The model to learn from: a folder or id, with the student's tokenizer."
    )
    teacher_adapters: list[str] = setting(
        [], "LoRA adapters of the teacher; its base is --teacher_model, or what they name."
    )
