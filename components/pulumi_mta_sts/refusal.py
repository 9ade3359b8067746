"""What is found wrong is said together: warnings in the log, errors in one exception."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pulumi

from mta_sts import Finding, MtaStsError, Severity, errors
from pulumi_mta_sts.live import once_a_run

T = TypeVar("T")


class Refused(pulumi.InputPropertiesError, pulumi.RunError):
    """Bad inputs, with property paths; the engine prints the message without a stack trace.

    `brakes` are the arguments of those domains whose senders are only let go, and whom none of the problems concerns.
    """

    def __init__(
        self,
        problems: Sequence[Finding],
        brakes: Sequence[dict[str, Any]] = (),
        ways_out: Sequence[str] = (),
        done: str = "nothing was changed",
    ) -> None:
        lines = [
            f"  {f'{problem.path}: ' if problem.path else ''}{problem.message} [{problem.rule}]" for problem in problems
        ]
        super().__init__(
            "\n".join([f"MTA-STS: {len(problems)} problem(s), {done}:", *lines, *ways_out]),
            [{"property_path": problem.path, "reason": problem.message} for problem in problems],
        )
        self.brakes = brakes
        self._problems = problems
        self._ways_out = ways_out

    def after_brakes(self, publish: Callable[[dict[str, Any]], object]) -> "Refused":
        """Publish the brakes, without their host, and return the error to be raised then.

        A brake waits for no other domain; and what a program has not registered when it fails stays as it is.
        """
        for domain in self.brakes:
            publish(domain)
        if not self.brakes:
            return self
        braked = ", ".join(domain["domain"] for domain in self.brakes)
        if pulumi.runtime.is_dry_run():
            done = f"nothing is changed but by the brake of {braked}, with `pulumi up --skip-preview`"
        else:
            done = f"nothing was changed but by the brake of {braked}"
        return Refused(self._problems, self.brakes, self._ways_out, done)


def as_warning(finding: Finding) -> Finding:
    """Return a finding that stops nothing."""
    return replace(finding, severity=Severity.WARNING)


def collect(found: list[Finding], read: Callable[[], T], otherwise: T) -> T:
    """Return what `read` returns; where it raises MtaStsError, add its findings to `found` and return `otherwise`."""
    try:
        return read()
    except MtaStsError as error:
        found += error.findings
        return otherwise


def warn(subject: str, findings: Sequence[Finding]) -> None:
    """Log the warnings about a domain or host, each once a run: the program and the component both judge."""
    warned: set[tuple[str, str]] = once_a_run(("warned",), set)
    for finding in findings:
        if finding.severity is Severity.WARNING and (subject, finding.message) not in warned:
            warned.add((subject, finding.message))
            pulumi.log.warn(f"{subject}: {finding.message} [{finding.rule}]")


def raise_together(
    findings: Sequence[Finding], brakes: Sequence[dict[str, Any]] = (), ways_out: Sequence[str] = ()
) -> None:
    """Raise Refused with all errors, if there are any, and with what may go on in spite of them."""
    stopping = errors(dict.fromkeys(findings))
    if stopping:
        raise Refused(stopping, brakes, ways_out)
