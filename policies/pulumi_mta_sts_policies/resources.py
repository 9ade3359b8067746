"""The resources that matter, as a rule sees them: through a proxy that raises UnknownValueError.

Nothing here catches it, so that no value that a preview can't know is taken for a known one. What is recognised is
`mta_sts.cloud_resources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from mta_sts import cloud_resources
from mta_sts.cloud_resources import (
    COMPONENT_PACKAGE,
    OBJECT_PATH,
    POLICY_HOST_LABEL,
    STS_LABEL,
    TLSRPT_LABEL,
    Distribution,
    Record,
    Resource,
    UnseenError,
    code_at_the_edge,
    distribution,
    get,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulumi_policy import PolicyResource

T = TypeVar("T")

__all__ = [
    "COMPONENT_PACKAGE",
    "OBJECT_PATH",
    "POLICY_HOST_LABEL",
    "STS_LABEL",
    "TLSRPT_LABEL",
    "Distribution",
    "PolicyObject",
    "Record",
    "Resource",
    "UnreadableError",
    "code_at_the_edge",
    "distribution",
    "get",
    "in_stack",
    "known",
    "made_by_component",
    "policy_object",
    "record",
]


class UnreadableError(UnknownValueError):
    """A value that can't be seen from a policy pack at all; shown as what is not known yet is, never as a violation."""

    def __init__(self, message: str) -> None:
        super().__init__(UNKNOWN_STRING_VALUE, [])
        self.message = message


def in_stack(resource: Resource) -> PolicyResource:
    """Return a resource as what `pulumi_policy` hands to a rule: it knows its options, in a stack its dependencies."""
    return resource  # type: ignore[return-value]


def made_by_component(resource: Resource) -> bool:
    """Tell whether a component of this project made it: that one knows the ledger, which no policy pack sees."""
    parent_type = (in_stack(resource).opts.parent or "").split("::")[2:3]
    return bool(parent_type) and parent_type[0].rpartition("$")[2].startswith(COMPONENT_PACKAGE)


class PolicyObject(cloud_resources.PolicyObject):
    """An object that is served as a policy file."""

    @property
    def body(self) -> bytes:
        """The policy's bytes; raises UnreadableError where they are elsewhere."""
        try:
            return super().body
        except UnseenError as error:
            raise UnreadableError(str(error)) from error


def known(find: Callable[[Resource], T | None], resource: Resource) -> T | None:
    """Return what a resource is, None also where that is not known yet.

    A rule on one resource is silent then: whatever else stands in the stack, the rules on the stack say so.
    """
    try:
        return find(resource)
    except UnknownValueError:
        return None


def policy_object(resource: Resource) -> PolicyObject | None:
    """Return the policy object that a resource is, None for any other resource."""
    found = cloud_resources.policy_object(resource)
    return PolicyObject(found.resource, found.key) if found else None
