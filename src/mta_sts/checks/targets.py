"""Which domains are to be checked: from the command line, from a list, from a stack file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mta_sts.domain_config import check_domain
from mta_sts.names import LONGEST_NAME, to_ascii

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that names no mail domain, and why."""

    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


def domain_problem(text: str) -> str:
    """Return why a text names no mail domain, empty where it does; judged as in a stack file."""
    if len(text) > LONGEST_NAME + 1:  # not shown, and not judged, at full length
        return f"{text[:_SHOWN]!r}… is {len(text)} characters long; a name has at most {LONGEST_NAME} (RFC 1035)"
    found = check_domain({"domain": text, "mode": "none"})
    return next((one.message for one in found if one.path == "domain"), "")


def read_list(data: bytes) -> tuple[list[str], list[BadLine]]:
    """Return the domains of a list, one a line and each once, and every line that names none.

    Empty lines and what follows `#` are left out; a byte order mark and either line end are fine.
    """
    good: dict[str, None] = {}
    bad: list[BadLine] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        text = raw.decode("utf-8", "replace").partition("#")[0].strip()
        if not text:
            continue
        problem = domain_problem(text)
        if problem:
            shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
            bad.append(BadLine(number, shown, problem))
        else:
            good.setdefault(to_ascii(text))
    return list(good), bad


def once(domains: Iterable[str]) -> list[str]:
    """Return domains normalised, each once, in their order."""
    return list(dict.fromkeys(map(to_ascii, domains)))
