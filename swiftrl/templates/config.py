"""Settings of chat templates and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftrl.core.config import setting

__all__ = ["TemplateConfig"]


@dataclass(frozen=True)
class TemplateConfig:
    """Chat template and loss mask."""

    template: str | None = setting(
        None,
        "Name in the template library, or a .jinja file. Unset: the model's own template.",
    )
    max_length: int | None = setting(
        None, "Longest sequence in tokens, prompt and reply. Unset: what the model can take."
    )
    truncation_strategy: str | None = setting(
        None,
        "What happens to longer rows: raise (error with file and line), delete (set aside and "
        "counted), left (cut the oldest prompt tokens), right (cut the end), split (text only: "
        "several rows). Unset: raise, or delete with --strict false.",
        choices=("raise", "delete", "left", "right", "split"),
    )
    system: str | None = setting(
        None, "System prompt for rows that have none; a file's path reads the file."
    )
    loss_scale: str | None = setting(
        None,
        "Which assistant turns train: default (all), last_round (after the last user turn), all "
        "(every token). Unset: last_round for rlhf, default for sft, all for pt.",
        choices=("default", "last_round", "all"),
    )
    enable_thinking: bool | None = setting(
        None, "Passed to templates that know it. Unset: the template's own default."
    )
    response_prefix: str | None = setting(
        None, "Text that every reply starts with, given and not trained."
    )
    agent_template: str | None = setting(
        None,
        "Tool-call syntax that writes tools and calls whatever the template does: a name that "
        "swiftrl template shows, e.g. hermes or react. Unset: the template's own, and the model's "
        "syntax (or hermes) where the template takes none.",
    )
    max_pixels: int | None = setting(
        None,
        "Pixels of a picture at most: larger ones are scaled down, their shape kept. Unset: the "
        "model's own bound.",
    )
    fps: float = setting(2.0, "Frames seen of each second of a video.")
    nframes: int | None = setting(
        None, "Frames seen of a video in all, evenly spread, instead of --fps."
    )
    fps_min_frames: int = setting(4, "Least number of frames seen of a video with --fps.")
    fps_max_frames: int = setting(768, "Most frames seen of a video with --fps.")
    video_max_pixels: int = setting(
        602112, "Pixels of a video's frame at most: larger ones are scaled down, their shape kept."
    )
    allow_media_urls: bool = setting(
        False,
        "Fetch pictures, videos and audio that rows name by an http(s) address; refused otherwise.",
    )
    chat_template_kwargs: dict[str, Any] = setting({}, "More variables for the template, as JSON.")
