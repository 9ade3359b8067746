"""The MTA-STS world in plans, domain by domain: what stands before and after, and what happens in which order."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.cloud_resources import (
    COMPONENT_PACKAGE,
    LEAVING,
    POLICY_HOST_LABEL,
    RECORDS,
    STS_LABEL,
    TLSRPT_LABEL,
    UNKNOWN,
    PolicyObject,
    UnseenError,
    distribution,
    get,
    policy_object,
    record,
)
from mta_sts.findings import MtaStsError
from mta_sts.names import to_ascii
from mta_sts.records import select_sts_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mta_sts.cloud_resources import Distribution, Record
    from mta_sts.review.plan import Plan, State, Step

_ZONES = ("cloudflare:index/zone:Zone", "aws:route53/zone:Zone")
_CACHE_POLICY = "aws:cloudfront/cachePolicy:CachePolicy"
_DOMAIN_COMPONENT = f"{COMPONENT_PACKAGE}MtaSts"
_HOST_KINDS = ("CNAME", "A", "AAAA")
_MAY_SERVE = re.compile(
    r"function|worker|lambda|apigateway|pages|object|blob|site|webapp|appservice|/kv", re.IGNORECASE
)
"""Types of what may serve a policy without being an object whose key says so."""
_MAY_MATTER = re.compile(rf"{_MAY_SERVE.pattern}|record|/mx", re.IGNORECASE)


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
    """Where the policy host's name leads, and how long resolvers keep that."""

    values: tuple[str, ...]
    ttl: int


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
    behaviour: Mapping[str, Any]
    origins: Any

    def seconds_kept(self, cache_control: str) -> int:
        """Return how long an edge goes on with an object; raises UnseenError where that can't be seen."""
        return self.served.seconds_kept(cache_control, self.cache_policies)


class File(NamedTuple):
    """A policy file as it is written, and what it says about caching."""

    body: str
    cache_control: str


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

    @property
    def changes(self) -> bool:
        """Whether senders could notice. What can't be seen is like nothing else, so it may have changed."""
        return not self.step.same and (self.old != self.new or self.gap)

    @property
    def gap(self) -> bool:
        """Whether it is not there, or there twice, while the engine replaces it."""
        return self.step.op == "replace" and self.role is not Role.MX and self.old is not None and self.new is not None

    @property
    def deletion(self) -> bool:
        """Whether the engine leaves it to the end, and does it even where other steps have failed."""
        return self.step.goes

    @property
    def ours(self) -> bool:
        """Whether our component makes it."""
        types = self.step.urn.split("::")[2].split("$")
        return _DOMAIN_COMPONENT in types[:-1]


@dataclass
class Domain:
    """Everything that plans hold of one mail domain."""

    name: str
    plans: list[Plan] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    order: Order | None = None
    unread: list[str] = field(default_factory=list)
    """Names of resources that change, may be the domain's, and are of kinds that can't be read here."""
    unprotected_buckets: list[Step] = field(default_factory=list)
    """Buckets of its policy file that are no longer protected from deletion."""
    component: Step | None = None
    """Our component, where it publishes the domain."""
    removable_from: str = ""
    """What our component said at the last update about taking the domain off."""

    def of(self, *roles: Role) -> list[Part]:
        """Return the parts of these roles, in the order in which the engine takes them."""
        return [part for part in self._in_order if part.role in roles]

    @cached_property
    def _in_order(self) -> list[Part]:
        return sorted(self.parts, key=lambda part: (part.deletion, part.place))

    @cached_property
    def ours(self) -> bool:
        """Whether our component publishes the domain, and so waits where senders need it."""
        return any(part.ours for part in self.of(Role.RECORD, Role.OBJECT))

    @property
    def changes(self) -> bool:
        """Whether senders could notice anything of what is planned."""
        return any(part.changes for part in self.parts)

    @property
    def publishes(self) -> bool:
        """Whether the plan has anything of its MTA-STS, not only MX records."""
        return any(part.role is not Role.MX for part in self.parts)

    def lifted(self) -> list[Part]:
        """Return the parts that are no longer protected from deletion."""
        return [part for part in self.parts if part.step.unprotects]

    def side(self, *, after: bool) -> Side:
        """Return the domain as it stands before or after the update."""
        return Side(tuple((part, part.new if after else part.old) for part in self._in_order))


@dataclass(frozen=True)
class Side:
    """A domain at one moment: its parts, each with what it stands for then."""

    parts: tuple[tuple[Part, Any], ...]

    def values(self, role: Role) -> list[Any]:
        """Return what is there in a role; raises UnseenError where some of it can't be seen."""
        found = [value for part, value in self.parts if part.role is role and value is not None]
        for value in found:
            if isinstance(value, UnseenError):
                raise UnseenError(f"its {role}: {value}")
        return found

    def has(self, role: Role) -> bool:
        """Whether the plan knows anything of this role, now or at another time."""
        return any(part.role is role for part, _ in self.parts)

    def with_part(self, changed: Part) -> Side:
        """Return this moment once one part has changed."""
        return self._with(changed, changed.new)

    def without_part(self, changed: Part) -> Side:
        """Return this moment while one part is not there."""
        return self._with(changed, None)

    def _with(self, changed: Part, wanted: Any) -> Side:
        return Side(tuple((part, wanted if part is changed else value) for part, value in self.parts))

    @property
    def file(self) -> File | None:
        """The policy file that is stored; raises UnseenError where the plan can't tell."""
        if not self.has(Role.OBJECT):
            raise UnseenError("the policy file is not in the plan")
        files = self.values(Role.OBJECT)
        if len(set(files)) > 1:
            raise UnseenError("several objects say that they are its policy file")
        return files[0] if files else None

    @property
    def body(self) -> str | None:
        """The policy that senders are served, None where there is none; raises UnseenError."""
        file = self.file
        reachable = not self._lost(Role.EDGE) and not self._lost(Role.NAME)
        return file.body if file is not None and reachable else None

    def _lost(self, role: Role) -> bool:
        """Whether something of this role is there at another time, and nothing now."""
        return self.has(role) and not any(part.role is role and value is not None for part, value in self.parts)

    @property
    def edge_seconds(self) -> int | None:
        """How long an edge goes on with the file after it changes, None where no edge is there; raises UnseenError."""
        file = self.file
        control = file.cache_control if file else ""
        kept: list[int] = [_read(partial(edge.seconds_kept, control)) for edge in self.values(Role.EDGE)]
        return max(kept, default=None)

    @property
    def names(self) -> frozenset[str]:
        """Where the policy host's name leads; raises UnseenError."""
        return frozenset(value for name in self.values(Role.NAME) for value in name.values)

    @property
    def texts(self) -> list[str]:
        """The texts at `_mta-sts`; raises UnseenError."""
        return [text for texts in self.values(Role.RECORD) for text in texts.values]

    @property
    def id(self) -> str | None:
        """The id that senders see, None where there is no usable record (RFC 8461 §3.1); raises UnseenError."""
        try:
            return select_sts_record(self.texts).id
        except MtaStsError:
            return None

    @property
    def hosts(self) -> frozenset[str]:
        """The MX hosts in DNS; raises UnseenError."""
        return frozenset(host for one in self.values(Role.MX) for host in one.hosts)

    @property
    def leaving(self) -> frozenset[str]:
        """The MX hosts that our component keeps until no sender needs them."""
        known = [value for part, value in self.parts if part.role is Role.MX and isinstance(value, MxRecord)]
        return frozenset(host for one in known if one.leaving for host in one.hosts)

    @property
    def reports(self) -> list[str]:
        """The texts at `_smtp._tls`; raises UnseenError."""
        return [text for texts in self.values(Role.REPORTS) for text in texts.values]

    def ttl(self, role: Role, otherwise: int) -> int:
        """Return the longest TTL of what is there in a role; what can't be seen counts not."""
        known = [
            value.ttl
            for part, value in self.parts
            if part.role is role and value is not None and not isinstance(value, UnseenError)
        ]
        return max(known, default=otherwise)


class Order:
    """Which step waits for which, as bit sets over the steps that change something."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._places = {step.urn: place for place, step in enumerate(steps)}
        self._before: dict[int, int] = {}

    def comes_before(self, earlier: Part, later: Part) -> bool:
        """Whether the engine begins the one only once the other is done."""
        if earlier.deletion != later.deletion:
            return later.deletion
        if earlier.deletion:
            # What depends on a resource is deleted before it.
            return bool(self._reached(earlier.place) >> later.place & 1)
        return bool(self._reached(later.place) >> earlier.place & 1)

    def _reached(self, place: int) -> int:
        """Return everything that a step depends on, by whatever way."""
        stack = [place]
        while stack:
            here = stack[-1]
            if here in self._before:
                stack.pop()
                continue
            needed = self._direct(here)
            missing = [each for each in needed if each not in self._before and each not in stack]
            if missing:
                stack += missing
                continue
            reached = 0
            for each in needed:
                reached |= 1 << each | self._before.get(each, 0)
            self._before[here] = reached
            stack.pop()
        return self._before[place]

    def _direct(self, place: int) -> list[int]:
        state = self._steps[place].new or self._steps[place].old
        named = state.dependencies if state is not None else ()
        return [self._places[urn] for urn in named if urn in self._places]


def find_domains(plans: Sequence[Plan]) -> tuple[list[Domain], list[str]]:
    """Return the mail domains of these plans by name, and what may be of one but can't be seen."""
    return _Finder(plans).find()


class _Finder:
    """Looks for what belongs to which domain."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._domains: dict[str, Domain] = {}
        self._unseen: list[str] = []
        self._hidden: set[str] = set()
        """Resources of which nothing could be read."""
        self._unread: list[tuple[Plan, Step, str]] = []
        self._served: dict[str, dict[str, None]] = defaultdict(dict)
        """The domains whose policy host reads from a bucket, by its URN and by its name."""
        self._plans = plans
        self._steps = [(plan, step) for plan in plans for step in plan.steps]
        self._zones = {
            zone.id or zone.urn: zone
            for _, step in self._steps
            for zone in (step.old, step.new)
            if zone is not None and zone.resource_type in _ZONES
        }
        self._by_urn = {zone.urn: zone for zone in self._zones.values()}
        self._cache_policies = {
            key: state.props
            for _, step in self._steps
            for state in (step.old, step.new)
            if state is not None and state.resource_type == _CACHE_POLICY
            for key in (state.id, state.urn)
            if key
        }

    def find(self) -> tuple[list[Domain], list[str]]:
        """Return the domains and what could not be seen."""
        order = Order([step for _, step in self._steps])
        loose: list[tuple[int, Plan, Step, list[PolicyObject | UnseenError | None]]] = []
        for place, (plan, step) in enumerate(self._steps):
            before, after = self._both(step)
            if not before and not after and not step.same:
                self._note_unread(plan, step)
            if step.goes and step.old is not None and step.old.retained:
                after = before  # it leaves the stack and stays in the cloud
            objects = [side.get((Role.OBJECT, "")) for side in (before, after)]
            if any(objects):
                loose.append((place, plan, step, objects))
            for role, name in sorted({*before, *after}):
                if name:
                    part = Part(place, step, role, before.get((role, name)), after.get((role, name)))
                    self._add(name, plan, part)
        for place, plan, step, objects in loose:
            known = [each for each in objects if isinstance(each, PolicyObject)]
            old, new = (_file(each) if isinstance(each, PolicyObject) else each for each in objects)
            for name in self._domains_without_key(plan, known[-1]):
                self._add(name, plan, Part(place, step, Role.OBJECT, old, new))
        lifted = [step for _, step in self._steps if step.unprotects and _is_bucket(step.urn)]
        for domain in self._domains.values():
            domain.order = order
            domain.unread = self._unread_of(domain)
            domain.unprotected_buckets = [step for step in lifted if _holds_file_of(step, domain)]
        self._note_components()
        return [self._domains[name] for name in sorted(self._domains)], self._unseen

    def _add(self, name: str, plan: Plan, part: Part) -> None:
        domain = self._domains.setdefault(name, Domain(name))
        domain.parts.append(part)
        if plan not in domain.plans:
            domain.plans.append(plan)

    def _both(self, step: Step) -> tuple[dict[tuple[Role, str], Any], dict[tuple[Role, str], Any]]:
        """Return what a resource stands for before and after, by role and domain.

        An object whose key names no domain stands under none. Where one side can't be read, it is the reason why.
        """
        sides: list[dict[tuple[Role, str], Any]] = []
        unread: list[UnseenError | None] = []
        for state in (step.old, step.new):
            try:
                sides.append(_read(partial(self._all_roles, state)) if state is not None else {})
                unread.append(None)
            except UnseenError as error:
                sides.append({})
                unread.append(error)
        before, after = sides
        if unread[0] is not None:
            before = dict.fromkeys(after, unread[0])
        elif unread[1] is not None:
            after = dict.fromkeys(before, unread[1])
        if any(unread) and not before and not after and (step.new or step.old) is not None and not _only_a_host(step):
            self._unseen.append(f"{step.urn.rpartition('::')[2]}: {unread[1] or unread[0]}")
            self._hidden.add(step.urn)
        return before, after

    def _note_unread(self, plan: Plan, step: Step) -> None:
        """Keep a change that may be one of DNS or of a policy host, and is nothing that can be read here."""
        state = step.new or step.old
        if state is None or not _MAY_MATTER.search(state.resource_type):
            return
        if state.resource_type in RECORDS and step.urn not in self._hidden:
            return  # read, and nothing of ours
        key = state.props.get("key")
        if isinstance(key, str) and POLICY_HOST_LABEL not in key and key not in UNKNOWN:
            return  # another file
        self._unread.append((plan, step, repr((step.old, step.new))))

    def _all_roles(self, state: State) -> dict[tuple[Role, str], Any]:
        return dict(self._roles(state))

    def _roles(self, state: State) -> Iterator[tuple[tuple[Role, str], Any]]:
        found = policy_object(state)
        if found is not None:
            yield (Role.OBJECT, found.domain), _file(found) if found.domain else found
        edge = distribution(state)
        if edge is not None:
            cache_policies = self._cache_policies_of(edge, state)
            meets = Edge(edge, cache_policies, edge.behaviour, edge.settings.get("origins"))
            for host in edge.hosts:
                name = host.removeprefix(f"{POLICY_HOST_LABEL}.")
                for bucket in _buckets_of(meets):
                    self._served[bucket][name] = None
                yield (Role.EDGE, name), meets
        if (dns := record(state)) is not None:
            yield from self._record(dns, state)

    def _record(self, dns: Record, state: State) -> Iterator[tuple[tuple[Role, str], Any]]:
        kind, name = dns.type, self._full_name(dns, state)
        if kind == "MX":
            hosts = _known(lambda: MxRecord(frozenset(dns.hosts), dns.ttl, get(state.props, "comment") == LEAVING))
            yield (Role.MX, name), hosts
        for role, label, kinds in (
            (Role.RECORD, STS_LABEL, ("TXT",)),
            (Role.REPORTS, TLSRPT_LABEL, ("TXT",)),
            (Role.NAME, POLICY_HOST_LABEL, _HOST_KINDS),
        ):
            if kind in kinds and name.startswith(f"{label}."):
                read = (
                    (lambda: Name(tuple(to_ascii(value) for value in dns.values), dns.ttl))
                    if role is Role.NAME
                    else (lambda: Texts(tuple(dns.texts), dns.ttl))
                )
                yield (role, name.removeprefix(f"{label}.")), _known(read)

    def _full_name(self, dns: Record, state: State) -> str:
        """Return a record's name with its zone; where the zone's name can't be seen its id stands for it."""
        for key in ("fqdn", "hostname"):
            if isinstance(state.outputs.get(key), str) and "." in state.outputs[key]:
                return to_ascii(state.outputs[key])
        name = dns.name
        zone = self._zone(state)
        relative = name in ("@", STS_LABEL, TLSRPT_LABEL, POLICY_HOST_LABEL)
        if not relative and (zone is None or f".{name}".endswith(f".{zone}")):
            return name
        zone = zone or f"zone-{state.props.get('zoneId') or state.props.get('hostedZoneId')}"
        return zone if name == "@" else f"{name}.{zone}"

    def _zone(self, state: State) -> str | None:
        ids = [state.props.get(key) for key in ("zoneId", "hostedZoneId", "zone")]
        found = [self._zones[each] for each in ids if isinstance(each, str) and each in self._zones]
        found += [self._by_urn[urn] for urn in state.dependencies if urn in self._by_urn]
        names = [zone.props.get("name") or zone.props.get("zone") for zone in found]
        return next((to_ascii(name) for name in names if isinstance(name, str)), None)

    def _cache_policies_of(self, edge: Distribution, state: State) -> Mapping[str, Mapping[str, Any]]:
        """Return the cache policies of the program by id; one that is made only now stands for the unknown id."""
        made = [self._cache_policies[urn] for urn in state.dependencies if urn in self._cache_policies]
        given = edge.behaviour.get("cachePolicyId")
        if len(made) == 1 and isinstance(given, str):
            return {**self._cache_policies, given: made[0]}
        return self._cache_policies

    def _domains_without_key(self, plan: Plan, found: PolicyObject) -> list[str]:
        """Return the domains of an object whose key names none: those of its bucket's edge, or the plan's only one."""
        state: Any = found.resource
        buckets = [*filter(_is_bucket, state.dependencies), str(state.props.get("bucket"))]
        served = dict.fromkeys(name for bucket in buckets for name in self._served.get(bucket, ()))
        if served:
            return list(served)
        publishing = [domain.name for domain in self._domains.values() if plan in domain.plans and domain.publishes]
        return publishing if len(publishing) == 1 else []

    def _unread_of(self, domain: Domain) -> list[str]:
        """Return the changes that may be the domain's: records that hide a name or give its own; what may serve."""
        served = any(part.role is Role.OBJECT for part in domain.parts)
        return [
            step.urn.rpartition("::")[2]
            for plan, step, text in self._unread
            if plan in domain.plans
            and (
                (step.urn in self._hidden and step.urn.split("::")[2].rpartition("$")[2] in RECORDS)
                or domain.name in text
                or (domain.publishes and not served and _MAY_SERVE.search(step.urn.split("::")[2].rpartition("$")[2]))
            )
        ]

    def _note_components(self) -> None:
        for _, step in self._steps:
            if step.urn.split("::")[2].rpartition("$")[2] != _DOMAIN_COMPONENT:
                continue
            outputs = (step.old.outputs if step.old else {}) or (step.new.outputs if step.new else {})
            # Before the first update it has no outputs yet.
            inputs = step.new.props if step.new else {}
            name = str(inputs.get("domain") or outputs.get("sts_record_name") or "").removeprefix(f"{STS_LABEL}.")
            if name in self._domains:
                self._domains[name].component = step
                self._domains[name].removable_from = str(outputs.get("removable_from") or "")


def _only_a_host(step: Step) -> bool:
    """Tell whether a record that named nothing of ours can at most become the name of a new policy host."""
    state = step.new or step.old
    return state is not None and state.props.get("type") in _HOST_KINDS


def _file(found: PolicyObject) -> Any:
    """Return what is served of an object, or the UnseenError that says why it can't be told."""

    def read() -> File:
        try:
            return File(found.body.decode(), found.cache_control)
        except UnicodeDecodeError:
            raise UnseenError("the policy file is not UTF-8") from None

    return _known(read)


def _known(read: Callable[[], Any]) -> Any:
    """Return what is read, or the UnseenError that says why it can't be."""
    try:
        return _read(read)
    except UnseenError as error:
        return error


def _read(read: Callable[[], Any]) -> Any:
    """Return what is read; raises UnseenError also for what has another form than that of its type."""
    try:
        return read()
    except UnseenError:
        raise
    except (AttributeError, KeyError, IndexError, OverflowError, TypeError, ValueError):
        raise UnseenError("it has a form that is not known here") from None


def _is_bucket(urn: str) -> bool:
    return "bucket:Bucket::" in urn or "bucketV2:BucketV2::" in urn


def _holds_file_of(bucket: Step, domain: Domain) -> bool:
    """Tell whether a bucket holds the domain's policy file: by what the object depends on, or names."""
    known = {state.props.get("bucket") or state.id for state in (bucket.old, bucket.new) if state is not None}
    return any(
        state is not None and (bucket.urn in state.dependencies or state.props.get("bucket") in known)
        for part in domain.parts
        if part.role is Role.OBJECT
        for state in (part.step.old, part.step.new)
    )


def _buckets_of(edge: Edge) -> Iterator[str]:
    """Yield the buckets that an edge reads from: by URN, and by name."""
    state: Any = edge.served.resource
    yield from filter(_is_bucket, state.dependencies)
    for origin in edge.origins or ():
        name, found, _ = str(origin.get("domainName")).partition(".s3")
        if found:
            yield name
