"""What single resources of a plan are to a mail domain: the parts of its MTA-STS world, whatever cloud they are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.cloud_resources import COMPONENT_PACKAGE, UnseenError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from mta_sts.cloud_resources import Distribution
    from mta_sts.review.plan import Step

_CACHING = frozenset({"cachePolicyId", "minTtl", "defaultTtl", "maxTtl", "forwardedValues", "compress"})
"""Settings of a cache behaviour that decide how long an edge keeps a file, or how it is packed."""
_NO_MATTER = frozenset(
    {
        *("aliases", "tags", "tagsAll", "comment", "priceClass", "httpVersion", "isIpv6Enabled", "ipv6Enabled"),
        *("loggingConfig", "logging", "waitForDeployment", "retainOnDelete", "defaultRootObject", "__defaults"),
        *("defaultCacheBehavior", "orderedCacheBehaviors", "cacheBehaviors"),
    }
)
"""Settings of a distribution that no sender's request meets; the behaviours are looked at one by one."""


class Role(StrEnum):
    """What a resource is to a mail domain."""

    OBJECT = "policy file"
    EDGE = "policy host"
    NAME = "name of the policy host"
    RECORD = "MTA-STS record"
    MX = "MX record"
    REPORTS = "TLS reporting record"


HOST = (Role.OBJECT, Role.EDGE, Role.NAME)
"""What has to be there for a policy to be served."""


class Name(NamedTuple):
    """Where the policy host's name leads, how long resolvers keep that, and whether Cloudflare's own edge answers."""

    values: tuple[str, ...]
    ttl: int
    proxied: bool = False

    @property
    def faults(self) -> tuple[str, ...]:
        """Why senders can't use what it leads to."""
        return ("its name is proxied, so Cloudflare answers for it, by rules of its own",) if self.proxied else ()


class MxRecord(NamedTuple):
    """The hosts of an MX record, how long resolvers keep it, and whether our component lets the hosts go."""

    hosts: frozenset[str]
    ttl: int
    leaving: bool


class Texts(NamedTuple):
    """The values of a TXT record, and how long resolvers keep them."""

    values: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A distribution that answers for the policy host, and the cache policies of its program by id.

    Two are alike where a sender's request meets the same: names of other domains make no difference.
    """

    served: Distribution = field(compare=False)
    cache_policies: Mapping[str, Mapping[str, Any]] = field(compare=False)
    caching: Mapping[str, Any]
    settings: Mapping[str, Any]
    """All else that decides what a request meets."""

    @classmethod
    def of(cls, served: Distribution, cache_policies: Mapping[str, Mapping[str, Any]]) -> Edge:
        """Return the edge that a distribution makes; raises UnseenError."""
        settings = {key: value for key, value in served.settings.items() if key not in _NO_MATTER}
        caching = {key: value for key, value in served.behaviour.items() if key in _CACHING}
        rest = {key: value for key, value in served.behaviour.items() if key not in _CACHING}
        return cls(served, cache_policies, caching, settings | {"behaviour": rest})

    def seconds_kept(self, cache_control: str) -> int:
        """Return how long an edge goes on with an object; raises UnseenError where that can't be seen."""
        return self.served.seconds_kept(cache_control, self.cache_policies)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why senders can't use what it serves; what can't be seen is none."""
        return tuple(seen(partial(list, self.served.faults)))

    def differs(self, other: Edge) -> list[str]:
        """Return the names of the settings in which two differ, besides caching."""
        names = sorted({*self.settings, *other.settings})
        return [name for name in names if self.settings.get(name) != other.settings.get(name)]

    def buckets(self) -> Iterator[str]:
        """Yield the buckets that it reads from: by URN, and by name."""
        state: Any = self.served.resource
        yield from filter(is_bucket, state.dependencies)
        for origin in self.settings.get("origins") or ():
            name, found, _ = str(origin.get("domainName")).partition(".s3")
            if found:
                yield name


class File(NamedTuple):
    """A policy file as it is written, and how it is given out."""

    body: str
    cache_control: str
    faults: tuple[str, ...] = ()
    """Why senders can't use it, whatever stands in it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One resource of a domain: what it stands for before and after (None: it is not there then).

    A value that can't be seen is the UnseenError that says why.
    """

    place: int
    """Where its step stands among all steps."""
    step: Step
    role: Role
    old: Any
    new: Any
    identity: tuple[Hashable, Hashable] = (None, None)
    """What it is in the cloud before and after, None where nothing tells: two resources may be one thing there."""

    @property
    def changes(self) -> bool:
        """Whether senders could notice. What can't be seen is like nothing else, so it may have changed."""
        return not self.step.same and (self.old != self.new or self.gap)

    @property
    def gap(self) -> bool:
        """Whether it is not there, or there twice, while the engine replaces it."""
        return self.step.op == "replace" and self.old is not None and self.new is not None

    @property
    def deletion(self) -> bool:
        """Whether the engine leaves it to the end, and does it even where other steps have failed."""
        return self.step.goes

    @property
    def ours(self) -> bool:
        """Whether our component makes it."""
        return any(kind.startswith(COMPONENT_PACKAGE) for kind in self.step.urn.split("::")[2].split("$")[:-1])


def seen_or_why(read: Callable[[], Any]) -> Any:
    """Return what is read, or the UnseenError that says why it can't be."""
    try:
        return seen(read)
    except UnseenError as error:
        return error


def seen(read: Callable[[], Any]) -> Any:
    """Return what is read; raises UnseenError also for what has another form than that of its type."""
    try:
        return read()
    except UnseenError:
        raise
    except (AttributeError, KeyError, IndexError, OverflowError, TypeError, ValueError):
        raise UnseenError("it has a form that is not known here") from None


def is_bucket(urn: str) -> bool:
    """Whether a resource is an S3 bucket, by its URN."""
    return "bucket:Bucket::" in urn or "bucketV2:BucketV2::" in urn
