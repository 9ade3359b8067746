"""What a check found, and the one error that carries it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Severity(StrEnum):
    """How much a finding matters: an error stops a change, a warning is shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, found in one place.

    `rule` is a stable kebab-case token, `path` the place in what was checked
    (`mx[2]`, `line 4`), `message` one sentence: what is wrong, what was got, the way out.
    """

    rule: str
    path: str
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.severity}: {where}{self.message} [{self.rule}]"


class MtaStsError(ValueError):
    """Something that must not be used or published; `findings` holds every reason at once."""

    def __init__(self, subject: str, findings: Iterable[Finding]) -> None:
        self.subject = subject
        self.findings = tuple(findings)
        super().__init__("\n".join([subject, *(f"  {finding}" for finding in self.findings)]))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that stop a change."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def below(place: str, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings about a part as findings about the whole: their paths begin with the part's place."""
    return [replace(found, path=f"{place}.{found.path}" if found.path else place) for found in findings]


def unknown_keys(
    given: Iterable[object], known: Sequence[str], of: str, other_names: Mapping[str, str] | None = None
) -> list[Finding]:
    """Return a finding for each key that is not known, with the nearest that is.

    `of` says what the keys are settings of; `other_names` are keys that no likeness leads to.
    """
    findings = []
    for key in map(str, given):
        if key not in known:
            alike = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            near = (other_names or {}).get(key) or next(iter(alike), None)
            nearest = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
            findings.append(Finding("unknown-key", key, f"{key!r} is no setting of {of}; {nearest}"))
    return findings
