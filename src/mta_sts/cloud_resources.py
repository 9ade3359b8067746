"""What matters to MTA-STS in any Pulumi program: policy objects, DNS records, distributions, code at the edge.

A resource is seen through its inputs. A value that is not known before the update, or that is secret, is never taken
for a known one: reading it raises UnseenError (in a policy pack Pulumi's own proxy raises first).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mta_sts.findings import MtaStsError
from mta_sts.names import normalise_host, to_ascii
from mta_sts.records import txt_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OBJECT_PATH = ".well-known/mta-sts.txt"
"""The path of every policy at its host (RFC 8461 §3.2)."""
POLICY_HOST_LABEL = "mta-sts"
STS_LABEL = "_mta-sts"
TLSRPT_LABEL = "_smtp._tls"
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
"""CloudFront's managed cache policy under which an edge keeps nothing."""
CLOUDFRONT_DEFAULT = 86_400
"""Seconds that a CloudFront edge keeps what says nothing about caching, where the distribution says nothing either."""
COMPONENT_PACKAGE = "mta-sts:index:"
"""How the types of this project's components begin."""
LEAVING = "Managed by pulumi-mta-sts; leaves DNS when no sender needs it."
"""Comment on an MX record whose host is no longer declared: the engine may delete it once it is not needed."""

_AUTOMATIC_TTL = 300  # what Cloudflare serves for ttl 1
_ALIAS_TTL = 60  # of a Route 53 alias to CloudFront (its documentation of alias records)
_SIGNATURE = "4dabf18193072939515e22adb298388d"
"""The key under which Pulumi marks values that are not plain data: secrets, assets."""
_ASSET = "c44067f5952c0a294b673a41bacd8c17"
_SECRET_SHOWN = "[secret]"  # noqa: S105  how a preview shows a secret
UNKNOWN = frozenset(  # sdk/go/common/resource/plugin/rpc.go
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""How the engine writes values that only the update knows."""
_MANAGED_CACHE_POLICIES = {
    CACHING_DISABLED: (0, 0, 0),
    "658327ea-f89d-4fab-a63d-7e88639e58f6": (1, 86_400, 31_536_000),  # CachingOptimized
    "b2884449-e4de-46a7-ac36-70bc7f1ddd6d": (1, 86_400, 31_536_000),  # CachingOptimizedForUncompressedObjects
    "83da9c7e-98b4-4e11-a168-04f0df8e2c65": (0, 0, 31_536_000),  # UseOriginCacheControlHeaders
    "4cc15a8a-d715-48a4-82b8-cc0b614638fe": (0, 0, 31_536_000),  # UseOriginCacheControlHeaders-QueryStrings
}
"""Least, usual and longest seconds of CloudFront's managed cache policies (its documentation of them)."""
_CODE = {
    "aws:cloudfront/function:Function": "code",
    "aws:cloudfront/keyvaluestoreKey:KeyvaluestoreKey": "value",
    "aws:cloudfront/keyvaluestoreKeysExclusive:KeyvaluestoreKeysExclusive": "resourceKeyValuePairs",
    "aws:lambda/function:Function": "code",
    "aws-native:cloudfront:Function": "functionCode",
    "cloudflare:index/workerScript:WorkerScript": "content",
    "cloudflare:index/workersScript:WorkersScript": "content",
    "cloudflare:index/workerVersion:WorkerVersion": "modules",
    "cloudflare:index/workersKv:WorkersKv": "value",
}
"""What runs, or is read by what runs, at an edge: by type, the property that holds it."""
_DISTRIBUTIONS = ("aws:cloudfront/distribution:Distribution", "aws-native:cloudfront:Distribution")
CLOUDFLARE = ("cloudflare:index/dnsRecord:DnsRecord", "cloudflare:index/record:Record")
_ROUTE53 = ("aws:route53/record:Record", "aws-native:route53:RecordSet")
RECORDS = (*CLOUDFLARE, *_ROUTE53)
"""The types of DNS records that can be read."""
_OBJECT_TYPE = re.compile(r"(?:bucket|storage|s3|r2)object|^object(?:copy)?$|blob", re.IGNORECASE)
_MAX_AGE = re.compile(r"(?:s-maxage|max-age)\s*=\s*\"?(\d+)", re.IGNORECASE)
_KEEP_NOTHING = re.compile(r"\b(?:no-store|no-cache|private)\b", re.IGNORECASE)
_LARGEST_FILE = 65_536
_LARGEST_CODE = 2**20
_MOST_FILES = 1_000


class UnseenError(ValueError):
    """A value that can't be seen now; the message says why, and never what a secret holds."""


class Resource(Protocol):
    """A resource with its inputs (or, in a policy pack that judges a whole stack, its outputs)."""

    @property
    def resource_type(self) -> str:
        """Its type token."""

    @property
    def props(self) -> Mapping[str, Any]:
        """Its properties."""

    @property
    def urn(self) -> str:
        """Its URN."""

    @property
    def name(self) -> str:
        """Its name in the program."""


def get(props: Mapping[str, Any] | None, *path: str) -> Any:
    """Return a property at any depth, None where it is absent; raises UnseenError where it can't be seen."""
    value: Any = props
    for name in path:
        value = None if value is None else seen(value.get(name), name)
    return value


def seen(value: Any, name: str) -> Any:
    """Return a value as it is; raises UnseenError, naming it, where it is unknown or secret."""
    if isinstance(value, str):
        if value in UNKNOWN:
            raise UnseenError(f"`{name}` is only known once the update runs")
        if value == _SECRET_SHOWN:
            raise UnseenError(f"`{name}` is secret")
    elif isinstance(value, dict) and value.get(_SIGNATURE, _ASSET) != _ASSET:
        raise UnseenError(f"`{name}` is secret")
    return value


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
        """The policy's bytes; raises UnseenError where they are elsewhere."""
        for name in ("content", "contentBase64", "source"):
            value = get(self.resource.props, name)
            text, path = _part(value, "text"), _part(value, "path")
            if isinstance(text, str):
                return text.encode()
            if isinstance(path, str):
                digest = _part(value, "hash")
                if isinstance(value, dict) and not (isinstance(digest, str) and digest):
                    raise UnseenError(f"the policy of {self.resource.name} is a file whose hash the plan does not tell")
                return self._file(path, digest)
            if isinstance(value, str) and name == "content":
                return value.encode()
            if isinstance(value, str) and name == "contentBase64":
                try:
                    return base64.b64decode(value, validate=True)
                except binascii.Error as error:
                    raise UnseenError(f"contentBase64 of {self.resource.name} is no base64: {error}") from error
        raise UnseenError(
            f"the policy of {self.resource.name} is not in the program (a copy, or a remote file): give `content`"
        )

    def _file(self, path: str, digest: Any) -> bytes:
        """Return what a file asset holds; of one in a plan, which always tells the hash, only the file of that hash."""
        try:
            with Path(path).open("rb") as file:
                body = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise UnseenError(f"the policy of {self.resource.name} can't be read: {error.strerror}") from error
        if isinstance(digest, str) and digest and hashlib.sha256(body).hexdigest() != digest:
            raise UnseenError(f"the policy of {self.resource.name} is a file that has changed since")
        return body

    @property
    def metadata(self) -> Mapping[str, str]:
        """The object's metadata, empty where it has none."""
        return dict(get(self.resource.props, "metadata") or {})

    @property
    def faults(self) -> Iterator[str]:
        """Why senders can't use it, whatever stands in it."""
        props = self.resource.props
        given = get(props, "contentType")
        # What S3 says of a file where nobody says it; other stores guess from the name.
        kind = str(given or ("application/octet-stream" if self.resource.resource_type.startswith("aws:") else ""))
        if kind and kind.partition(";")[0].strip().lower() != "text/plain":
            yield f"it is served as `{kind}`, and senders take nothing but `text/plain` (RFC 8461 §3.2)"
        if get(props, "websiteRedirect"):
            yield "it is a redirect, which senders must not follow (RFC 8461 §3.3)"
        if str(get(props, "contentEncoding") or "identity").lower() != "identity":
            yield f"it is served as packed (`{get(props, 'contentEncoding')}`), and senders do not unpack"

    @property
    def cache_control(self) -> str:
        """What the object says about caching, empty where it says nothing."""
        return str(get(self.resource.props, "cacheControl") or "")


def _part(value: Any, name: str) -> Any:
    """Return a part of an asset: an attribute of Pulumi's own classes, a key of an asset in a plan."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


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
    def ttl(self) -> int:
        """The seconds that a resolver may keep the record."""
        if get(self.resource.props, "aliases") or get(self.resource.props, "aliasTarget"):
            return _ALIAS_TTL
        ttl = int(float(get(self.resource.props, "ttl") or 1))
        return _AUTOMATIC_TTL if ttl <= 1 else ttl

    @property
    def texts(self) -> list[str]:
        """The TXT values, strings joined."""
        return [txt_value(value if value.startswith('"') else f'"{value}"') for value in self.values]

    @property
    def hosts(self) -> list[str]:
        """The hosts that MX records name, without their preference; a null MX names none (RFC 7505 §3)."""
        named = [value.split()[-1] for value in self.values if value.strip()]
        return [to_ascii(host) for host in named if host != "."]

    def under(self, label: str) -> bool:
        """Tell whether the name begins with these labels."""
        return f"{self.name}.".startswith(f"{label}.")

    @property
    def values(self) -> list[str]:
        """The values in presentation form."""
        props = self.resource.props
        if self.resource.resource_type in CLOUDFLARE:
            for path in (("content",), ("value",), ("data", "target")):
                value = get(props, *path)
                if value is not None:
                    return [str(value)]
            return []
        given = get(props, "records") or get(props, "resourceRecords") or []
        for alias in get(props, "aliases") or []:
            given = [*given, get(alias, "name")]
        return [str(seen(value, "records")) for value in given]


def record(resource: Resource) -> Record | None:
    """Return the DNS records that a resource makes, None for any other resource."""
    return Record(resource) if resource.resource_type in RECORDS else None


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
    def faults(self) -> Iterator[str]:
        """Why senders can't use what it serves, as far as that can be seen."""
        if self.settings.get("enabled") is False:
            yield "its distribution is disabled"
        certificate, restrictions = self.settings.get("viewerCertificate"), self.settings.get("restrictions")
        if isinstance(certificate, dict) and certificate.get("cloudfrontDefaultCertificate") is True:
            yield "its distribution has CloudFront's own certificate, which is not for the policy host's name"
        geo = restrictions.get("geoRestriction") if isinstance(restrictions, dict) else None
        if isinstance(geo, dict) and geo.get("restrictionType") in ("whitelist", "blacklist"):
            yield "its distribution refuses some countries"

    @property
    def origins(self) -> Iterator[Mapping[str, Any]]:
        """The origins that a sender's request can reach."""
        wanted = get(self.behaviour, "targetOriginId")
        for origin in get(self.settings, "origins") or []:
            if wanted in (get(origin, "originId"), get(origin, "id")):
                yield origin

    def seconds_kept(self, cache_control: str, cache_policies: Mapping[str, Mapping[str, Any]]) -> int:
        """Return how long an edge goes on with an object that says this about caching.

        `cache_policies` are the settings of those made in the same program, by id. Raises UnseenError for others.
        """
        chosen = get(self.behaviour, "cachePolicyId")
        if chosen in _MANAGED_CACHE_POLICIES:
            return _seconds(_MANAGED_CACHE_POLICIES[chosen], cache_control)
        if chosen and chosen not in cache_policies:
            raise UnseenError(f"its cache policy {chosen} is made elsewhere")
        return seconds_kept_under(cache_policies[chosen] if chosen else self.behaviour, cache_control)


def seconds_kept_under(settings: Mapping[str, Any], cache_control: str) -> int:
    """Return how long an edge goes on with an object under the settings of a cache policy."""
    return _seconds(_times(settings), cache_control)


def _seconds(times: tuple[int, int, int], cache_control: str) -> int:
    least, usual, longest = times
    said = _MAX_AGE.search(cache_control)
    if _KEEP_NOTHING.search(cache_control):
        return least
    return max(min(int(said[1]), longest), least) if said else max(usual, least)


def _times(settings: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return least, usual and longest seconds, with CloudFront's own where they are not given."""
    usual, longest = get(settings, "defaultTtl"), get(settings, "maxTtl")
    default = CLOUDFRONT_DEFAULT if usual is None else int(usual)
    return int(get(settings, "minTtl") or 0), default, 31_536_000 if longest is None else int(longest)


def distribution(resource: Resource, *, wildcards: bool = False) -> Distribution | None:
    """Return the distribution that serves policies, None for any other resource.

    With `wildcards` one counts too that answers for `*.DOMAIN`, as whoever knows that it publishes a policy asks.
    """
    if resource.resource_type not in _DISTRIBUTIONS:
        return None
    native = resource.resource_type == _DISTRIBUTIONS[1]
    settings = (get(resource.props, "distributionConfig") if native else resource.props) or {}
    hosts = [to_ascii(seen(alias, "aliases")) for alias in get(settings, "aliases") or []]
    hosts = [host for host in hosts if host.startswith((f"{POLICY_HOST_LABEL}.", *(["*."] if wildcards else [])))]
    return Distribution(resource, settings, hosts) if hosts else None


def code_at_the_edge(resource: Resource) -> list[str] | None:
    """Return the texts in a function, a worker, or a store of theirs; None for any other resource."""
    name = _CODE.get(resource.resource_type)
    return None if name is None else list(_texts_in(get(resource.props, name), name))


def _texts_in(value: Any, name: str) -> Iterator[str]:
    """Yield every text in a property, at any depth: of assets and archives as well, as far as they are at hand."""
    if isinstance(value, str):
        yield _decoded(value) if name == "contentBase64" else value
        if name in ("path", "contentFile"):
            yield from _files_at(Path(value))
    elif hasattr(value, "keys"):
        for key in value:
            yield from _texts_in(seen(value[key], str(key)), str(key))
    elif hasattr(value, "__len__"):
        for each in value:
            yield from _texts_in(seen(each, name), name)
    else:
        for part in ("text", "path", "assets"):
            yield from _texts_in(getattr(value, part, ""), part)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode(errors="replace")
    except binascii.Error:
        return ""


def _files_at(path: Path) -> Iterator[str]:
    """Yield the begin of a file, or of those in a folder; what can't be read holds nothing that could be judged."""
    for file in [path] if path.is_file() else sorted(path.rglob("*"))[:_MOST_FILES]:
        if file.is_file():
            with file.open("rb") as opened:
                yield opened.read(_LARGEST_CODE).decode(errors="replace")
