"""Rewards of online reinforcement learning: functions of prompts, completions and columns."""
