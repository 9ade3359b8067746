"""How a rule is made: one decorator for what one resource shows, one for what only the whole stack does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    ResourceValidationPolicy,
    Severity,
    StackValidationPolicy,
)

from pulumi_mta_sts_policies.resources import UnreadableError
from pulumi_mta_sts_policies.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pulumi_policy import ReportViolation, ResourceValidationArgs, StackValidationArgs

    from pulumi_mta_sts_policies.resources import Resource

    Settings = Mapping[str, Any]
    ResourceCheck = Callable[[Resource, Settings], Iterable[str]]
    StackCheck = Callable[[Stack, Settings], Iterable[tuple[Resource, str]]]

MANDATORY = EnforcementLevel.MANDATORY
ADVISORY = EnforcementLevel.ADVISORY
__all__ = ["ADVISORY", "MANDATORY", "About", "Severity", "resource_rule", "stack_rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a rule says of itself: `reference` is a document and section, `settings` its configuration by name.

    Each setting is a JSON schema with a description and a default.
    """

    name: str
    description: str
    level: EnforcementLevel
    severity: Severity
    reference: tuple[str, str]
    remediation: str
    settings: Mapping[str, Mapping[str, Any]] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return it as `pulumi_policy` takes it."""
        framework, section = self.reference
        properties = {name: dict(schema) for name, schema in (self.settings or {}).items()}
        return {
            "name": self.name,
            "description": self.description,
            "enforcement_level": self.level,
            "severity": self.severity,
            "framework": PolicyComplianceFramework(name=framework, reference=section),
            "remediation_steps": self.remediation,
            "config_schema": PolicyConfigSchema(properties) if properties else None,
        }

    def with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a run."""
        return {name: schema["default"] for name, schema in (self.settings or {}).items()} | dict(given)


def resource_rule(about: About) -> Callable[[ResourceCheck], ResourceValidationPolicy]:
    """Make a rule of a function that returns what is wrong with one resource's inputs, before it is changed."""

    def make(check: ResourceCheck) -> ResourceValidationPolicy:
        def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
            for message in check(args, about.with_defaults(args.get_config())):
                report(message, None)

        return ResourceValidationPolicy(validate=validate, **about.arguments())

    return make


def stack_rule(about: About) -> Callable[[StackCheck], StackValidationPolicy]:
    """Make a rule of a function that returns what is wrong with a stack, by resource.

    What isn't known in a preview is said in the end, as the library says it; the update judges it again.
    """

    def make(check: StackCheck) -> StackValidationPolicy:
        def validate(args: StackValidationArgs, report: ReportViolation) -> None:
            stack = Stack(args.resources)
            for resource, message in check(stack, about.with_defaults(args.get_config())):
                report(message, resource.urn)
            if left_open := stack.left_open():
                raise UnreadableError("; ".join(left_open))

        return StackValidationPolicy(validate=validate, **about.arguments())

    return make


def listed(items: Sequence[str]) -> str:
    """Return names for a message: the first few, and how many more."""
    most = 5
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
