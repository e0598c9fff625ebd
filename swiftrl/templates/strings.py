"""What two strings share."""

from __future__ import annotations

__all__ = ["shared_prefix", "shared_suffix"]


def shared_prefix(first: str, second: str) -> int:
    """Return the length of the longest string that both begin with."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # comparing slices is fast; comparing characters one by one is not
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def shared_suffix(first: str, second: str) -> int:
    """Return the length of the longest string that both end with."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[len(first) - middle :] == second[len(second) - middle :]:
            low = middle
        else:
            high = middle - 1
    return low
