"""What matters to MTA-STS in any Pulumi program: policy objects, DNS records, distributions, code at the edge.

A rule sees a resource through a proxy that raises UnknownValueError for a value that a preview can't know; nothing here
catches it, so that no unknown value is taken for a known one.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pulumi
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from mta_sts import MtaStsError, normalise_host, txt_value
from mta_sts.names import to_ascii

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pulumi_policy import PolicyResourceOptions

OBJECT_PATH = ".well-known/mta-sts.txt"
"""The path of every policy at its host (RFC 8461 §3.2)."""
POLICY_HOST_LABEL = "mta-sts"
STS_LABEL = "_mta-sts"
TLSRPT_LABEL = "_smtp._tls"

_CODE = {
    "aws:cloudfront/function:Function": "code",
    "aws-native:cloudfront:Function": "functionCode",
    "cloudflare:index/workersScript:WorkersScript": "content",
    "cloudflare:index/workerScript:WorkerScript": "content",
}
_DISTRIBUTIONS = ("aws:cloudfront/distribution:Distribution", "aws-native:cloudfront:Distribution")
_CLOUDFLARE = ("cloudflare:index/dnsRecord:DnsRecord", "cloudflare:index/record:Record")
_ROUTE53 = ("aws:route53/record:Record", "aws-native:route53:RecordSet")
_OBJECT_TYPE = re.compile(r"object|blob", re.IGNORECASE)
_OWN = "mta-sts:index:"


class Resource(Protocol):
    """A resource as `pulumi_policy` hands it to a rule, with its inputs or, where a whole stack is judged, outputs."""

    resource_type: str
    props: Mapping[str, Any]
    urn: str
    name: str
    opts: PolicyResourceOptions


class UnreadableError(UnknownValueError):
    """A value that can't be seen from a policy pack at all; shown as what is not known yet is, never as a violation."""

    def __init__(self, message: str) -> None:
        super().__init__(UNKNOWN_STRING_VALUE, [])
        self.message = message


def get(props: Mapping[str, Any] | None, *path: str) -> Any:
    """Return a property at any depth, None where it is absent; raises UnknownValueError where it isn't known yet."""
    value: Any = props
    for name in path:
        value = None if value is None else value.get(name)
    return value


def made_by_component(resource: Resource) -> bool:
    """Tell whether a component of this project made it: that one knows the ledger, which no policy pack sees."""
    parent_type = (resource.opts.parent or "").split("::")[2:3]
    return bool(parent_type) and parent_type[0].rpartition("$")[2].startswith(_OWN)


@dataclass(frozen=True, slots=True)
class PolicyObject:
    """An object that is served as a policy file, whatever kind of store it is in."""

    resource: Resource
    key: str

    @property
    def domain(self) -> str:
        """The domain that the key names, empty where it names none (a bucket of its own for one domain)."""
        for part in reversed(self.key.removesuffix(OBJECT_PATH).split("/")):
            name = to_ascii(part).removeprefix(f"{POLICY_HOST_LABEL}.")
            if "." in name:
                try:
                    return normalise_host(name)
                except MtaStsError:
                    continue
        return ""

    @property
    def body(self) -> bytes:
        """The policy's bytes; raises UnreadableError where they are elsewhere."""
        props = self.resource.props
        for name in ("content", "contentBase64", "source"):
            value = get(props, name)
            if isinstance(value, pulumi.StringAsset):
                return value.text.encode()
            if isinstance(value, pulumi.FileAsset):
                try:
                    return Path(value.path).read_bytes()
                except OSError as error:
                    raise UnreadableError(f"the policy of {self.resource.name} can't be read: {error}") from error
            if isinstance(value, str) and name == "content":
                return value.encode()
            if isinstance(value, str) and name == "contentBase64":
                try:
                    return base64.b64decode(value, validate=True)
                except binascii.Error as error:
                    raise UnreadableError(f"contentBase64 of {self.resource.name} is no base64: {error}") from error
        raise UnreadableError(
            f"the policy of {self.resource.name} is not in the program (a copy, or a remote file): give `content`"
        )

    @property
    def metadata(self) -> Mapping[str, str]:
        """The object's metadata, empty where it has none."""
        return dict(get(self.resource.props, "metadata") or {})


def policy_object(resource: Resource) -> PolicyObject | None:
    """Return the policy object that a resource is, None for any other resource."""
    if not _OBJECT_TYPE.search(resource.resource_type.rpartition(":")[2]):
        return None
    key = get(resource.props, "key") or get(resource.props, "name")
    if not isinstance(key, str) or not f"/{key}".endswith(f"/{OBJECT_PATH}"):
        return None
    return PolicyObject(resource, key)


@dataclass(frozen=True, slots=True)
class Record:
    """DNS records of one name and type, as one resource of Cloudflare or Route 53 makes them."""

    resource: Resource

    @property
    def type(self) -> str:
        """The record's type in capitals."""
        return str(get(self.resource.props, "type") or "").upper()

    @property
    def name(self) -> str:
        """The name as it was given, normalised; it may be relative to its zone (`_mta-sts`, `@`)."""
        return to_ascii(str(get(self.resource.props, "name") or "@"))

    @property
    def proxied(self) -> bool:
        """Whether Cloudflare answers for the name with its own edge."""
        return bool(get(self.resource.props, "proxied"))

    @property
    def texts(self) -> list[str]:
        """The TXT values, strings joined."""
        return [txt_value(value if value.startswith('"') else f'"{value}"') for value in self._values()]

    @property
    def hosts(self) -> list[str]:
        """The hosts that MX records name, without their preference."""
        return [to_ascii(value.split()[-1]) for value in self._values() if value.strip()]

    def under(self, label: str) -> bool:
        """Tell whether the name begins with these labels."""
        return f"{self.name}.".startswith(f"{label}.")

    def _values(self) -> list[str]:
        props = self.resource.props
        if self.resource.resource_type in _CLOUDFLARE:
            for path in (("content",), ("value",), ("data", "target")):
                value = get(props, *path)
                if value is not None:
                    return [str(value)]
            return []
        given = get(props, "records") or get(props, "resourceRecords") or []
        return [str(value) for value in given]


def record(resource: Resource) -> Record | None:
    """Return the DNS records that a resource makes, None for any other resource."""
    return Record(resource) if resource.resource_type in (*_CLOUDFLARE, *_ROUTE53) else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """A CloudFront distribution that answers for policy hosts."""

    resource: Resource
    settings: Mapping[str, Any]
    hosts: Sequence[str]

    @property
    def behaviour(self) -> Mapping[str, Any]:
        """The cache behaviour that a sender's request meets."""
        for ordered in get(self.settings, "orderedCacheBehaviors") or get(self.settings, "cacheBehaviors") or []:
            pattern = str(get(ordered, "pathPattern") or "")
            if fnmatchcase(f"/{OBJECT_PATH}", f"/{pattern.removeprefix('/')}"):
                return ordered  # type: ignore[no-any-return]
        return get(self.settings, "defaultCacheBehavior") or {}

    @property
    def certificate(self) -> Mapping[str, Any]:
        """The settings of the viewer's certificate."""
        return get(self.settings, "viewerCertificate") or {}

    @property
    def origins(self) -> Iterator[Mapping[str, Any]]:
        """The origins that a sender's request can reach."""
        wanted = get(self.behaviour, "targetOriginId")
        for origin in get(self.settings, "origins") or []:
            if wanted in (get(origin, "originId"), get(origin, "id")):
                yield origin


def distribution(resource: Resource) -> Distribution | None:
    """Return the distribution that serves policies, None for any other resource."""
    if resource.resource_type not in _DISTRIBUTIONS:
        return None
    native = resource.resource_type == _DISTRIBUTIONS[1]
    settings = (get(resource.props, "distributionConfig") if native else resource.props) or {}
    hosts = [to_ascii(alias) for alias in get(settings, "aliases") or []]
    hosts = [host for host in hosts if host.startswith(f"{POLICY_HOST_LABEL}.")]
    return Distribution(resource, settings, hosts) if hosts else None


def code_at_the_edge(resource: Resource) -> str | None:
    """Return the code of a function or worker, None for any other resource."""
    name = _CODE.get(resource.resource_type)
    return None if name is None else str(get(resource.props, name) or "")
