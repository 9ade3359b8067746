"""What a review says to people: reasons, times and lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MOST_SHOWN = 8


FIRST = -1.0
"""The time of what the program itself has to do right before any other step is made."""


@dataclass(frozen=True, slots=True)
class Act:
    """A step of what to do, in a sentence, and from when: in seconds after the first dated step."""

    text: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that a reviewer has to know: a stable rule, what would happen, and what to do instead."""

    rule: str
    text: str
    way_out: tuple[Act, ...] = ()


def in_order(acts: Iterable[Act]) -> list[Act]:
    """Return acts as one recipe: the earliest first, what several ask for once and at the latest of their times."""
    latest: dict[str, float] = {}
    for act in acts:
        latest[act.text] = max(act.at, latest.get(act.text, act.at))
    return sorted((Act(text, at) for text, at in latest.items()), key=lambda act: act.at)


def duration(seconds: float) -> str:
    """Return a time span in its two largest units, rounded up."""
    if math.isinf(seconds):
        return "an unknown time"
    whole = math.ceil(seconds)
    if whole >= 2 * _DAY:
        return _two(-(-whole // _HOUR), 24, "day", "hour")
    if whole >= _HOUR:
        return _two(-(-whole // _MINUTE), 60, "hour", "minute")
    return _two(whole, 60, "minute", "second")


def _two(small: int, per_large: int, large_word: str, small_word: str) -> str:
    large, rest = divmod(small, per_large)
    parts = [
        f"{count} {word}{'s' * (count != 1)}" for count, word in ((large, large_word), (rest, small_word)) if count
    ]
    return " ".join(parts) or f"0 {small_word}s"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: all of few, of many the first and how many more."""
    known = list(names)
    if len(known) > _MOST_SHOWN:
        known = [*known[: _MOST_SHOWN - 1], f"{len(known) - _MOST_SHOWN + 1} more"]
    return f"{', '.join(known[:-1])} and {known[-1]}" if len(known) > 1 else "".join(known)
