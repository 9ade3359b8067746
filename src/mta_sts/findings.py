"""What a check found, and the one error that carries it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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
