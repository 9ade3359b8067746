"""The MTA-STS world in plans, domain by domain: what stands before and after, and what happens in which order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.cloud_resources import (
    CLOUDFLARE,
    COMPONENT_PACKAGE,
    LEAVING,
    POLICY_HOST_LABEL,
    RECORDS,
    STS_LABEL,
    TLSRPT_LABEL,
    UNKNOWN,
    PolicyObject,
    Record,
    UnseenError,
    distribution,
    get,
    policy_object,
    record,
)
from mta_sts.findings import MtaStsError
from mta_sts.names import to_ascii
from mta_sts.records import select_sts_record
from mta_sts.review.unread import Owners, Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from mta_sts.cloud_resources import Distribution
    from mta_sts.review.plan import Plan, State, Step

_ZONES = ("cloudflare:index/zone:Zone", "aws:route53/zone:Zone")
_CACHE_POLICY = "aws:cloudfront/cachePolicy:CachePolicy"
_DOMAIN_COMPONENT = f"{COMPONENT_PACKAGE}MtaSts"
_HOST_KINDS = ("CNAME", "A", "AAAA")
_DELEGATE = ("NS", "DS")
_WILD = "*."
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
        return ("its name is proxied, so another edge with its own rules answers for it",) if self.proxied else ()


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
        return tuple(_read(partial(list, self.served.faults)))

    def differs(self, other: Edge) -> list[str]:
        """Return the names of the settings in which two differ, besides caching."""
        names = sorted({*self.settings, *other.settings})
        return [name for name in names if self.settings.get(name) != other.settings.get(name)]


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


@dataclass
class Domain:
    """Everything that plans hold of one mail domain."""

    name: str
    plans: list[Plan] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    order: Order | None = None
    unread: list[str] = field(default_factory=list)
    """Names of resources that change, may be the domain's, and are of kinds that can't be read here."""
    stands_on: frozenset[int] = frozenset()
    """The places of all that its policy host and its policy file depend on, by whatever way."""
    unprotected_buckets: list[Step] = field(default_factory=list)
    """Buckets of its policy file that are no longer protected from deletion."""
    component: Step | None = None
    """Our component, where it publishes the domain."""
    removable_from: str = ""
    """What our component said at the last update about taking the domain off."""

    @cached_property
    def shows_file(self) -> bool:
        """Whether the plan shows its policy file."""
        return any(part.role is Role.OBJECT for part in self.parts)

    @cached_property
    def shows_edge(self) -> bool:
        """Whether the plan shows its policy host."""
        return any(part.role is Role.EDGE for part in self.parts)

    @cached_property
    def served_before(self) -> bool:
        """Whether something serves a policy, or can, before the update."""
        return any(part.role in (Role.OBJECT, Role.EDGE) and part.old is not None for part in self.parts)

    @cached_property
    def buckets(self) -> frozenset[str]:
        """The names of the buckets that its policy is in, or is read from."""
        found = {
            state.props.get("bucket")
            for part in self.of(Role.OBJECT)
            for state in (part.step.old, part.step.new)
            if state is not None
        }
        edges = [value for part in self.of(Role.EDGE) for value in (part.old, part.new) if isinstance(value, Edge)]
        return frozenset(
            name
            for name in (*found, *(bucket for edge in edges for bucket in _buckets_of(edge)))
            if isinstance(name, str) and name not in UNKNOWN
        )

    @cached_property
    def code_at_the_edge(self) -> str:
        """Which functions its policy host runs, as the distribution names them."""
        edges = [value for part in self.of(Role.EDGE) for value in (part.old, part.new) if isinstance(value, Edge)]
        behaviours = [edge.settings["behaviour"] for edge in edges]
        return str([[one.get("functionAssociations"), one.get("lambdaFunctionAssociations")] for one in behaviours])

    def leads_here(self, name: Part, *, after: bool) -> bool:
        """Tell whether the policy host's name leads to a policy host of these plans, before or after the update."""
        value, state = (name.new, name.step.new) if after else (name.old, name.step.old)
        for edge in self.of(Role.EDGE):
            if (edge.new if after else edge.old) is None or state is None:
                continue
            if edge.step.urn in state.dependencies or (after and self.order and self.order.needs(name, edge)):
                return True
            states = [one for one in (edge.step.old, edge.step.new) if one is not None]
            own = {str(one.outputs.get("domainName")).lower() for one in states}
            if isinstance(value, Name) and set(value.values) <= own:
                return True
        return False

    @cached_property
    def twins(self) -> dict[tuple[int, Role], list[Part]]:
        """By the place and role of a deletion: the parts that stay in the stack, and are the same thing in the cloud.

        A resource that is renamed without an alias is made first under its new name, and deleted at the end under its
        old one: that takes away what has just been written.
        """
        staying: dict[tuple[Role, Hashable], list[Part]] = defaultdict(list)
        for part in self.parts:
            if part.new is not None and not part.deletion and part.identity[1] is not None:
                staying[part.role, part.identity[1]].append(part)
        gone = [part for part in self.parts if part.deletion and part.new is None and part.identity[0] is not None]
        found = {(part.place, part.role): staying.get((part.role, part.identity[0]), []) for part in gone}
        return {key: parts for key, parts in found.items() if parts}

    @cached_property
    def _taken(self) -> frozenset[tuple[int, Role]]:
        return frozenset((part.place, part.role) for parts in self.twins.values() for part in parts)

    def moved(self, now: Side, part: Part) -> Side:
        """Return a moment once one part has changed, and what is the same thing with it."""
        after = now.with_part(part)
        for twin in self.twins.get((part.place, part.role), ()):
            after = after.without_part(twin)
        return after

    def of(self, *roles: Role) -> list[Part]:
        """Return the parts of these roles, in the order in which the engine takes them."""
        return [part for part in self._in_order if part.role in roles]

    @cached_property
    def _in_order(self) -> list[Part]:
        return sorted(self.parts, key=lambda part: (part.deletion, part.place))

    @cached_property
    def ours(self) -> bool:
        """Whether our component publishes the domain, and nobody else does: then it waits where senders need it."""
        publishing = self.of(Role.RECORD, Role.OBJECT)
        return bool(publishing) and all(part.ours for part in publishing)

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
        if not after:
            return Side(tuple((part, part.old) for part in self._in_order))
        lost = self._taken
        return Side(tuple((part, None if (part.place, part.role) in lost else part.new) for part in self._in_order))


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
        self.values(Role.EDGE)  # one that may answer for other names only is none that can be relied on
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

    def needs(self, one: Part, other: Part) -> bool:
        """Whether a part depends on another, by whatever way."""
        return bool(self._reached(one.place) >> other.place & 1)

    def under(self, places: Iterable[int]) -> frozenset[int]:
        """Return the places of all that these depend on, before or after, by whatever way."""
        found: set[int] = set()
        waiting = list(places)
        while waiting:
            step = self._steps[waiting.pop()]
            named = [urn for state in (step.old, step.new) if state is not None for urn in state.dependencies]
            fresh = {self._places[urn] for urn in named if urn in self._places} - found
            found |= fresh
            waiting += fresh
        return frozenset(found)

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
        self._hidden: dict[str, str] = {}
        """Resources of which nothing could be read, and why."""
        self._under: dict[str, str] = {}
        """Zones that go and delegations, with the name at and under which they decide."""
        self._unread: list[Unread] = []
        self._unclaimed: list[str] = []
        """The changes that may be a domain's, and of which no domain here knows."""
        self._elsewhere: dict[str, UnseenError] = {}
        """What a name leads to that another one's owner decides, by that other name."""
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
        self._cache_policies = tuple(
            {
                key: state.props
                for _, step in self._steps
                for state in [step.new if after else step.old]
                if state is not None and state.resource_type == _CACHE_POLICY
                for key in {state.id or (step.old.id if step.old else ""), state.urn}
                if key
            }
            for after in (False, True)
        )
        """Those of the program, as they are before and after."""

    def find(self) -> tuple[list[Domain], list[str]]:
        """Return the domains and what could not be seen."""
        loose: list[tuple[int, Plan, Step, list[PolicyObject | UnseenError | None]]] = []
        wild: list[tuple[str, Plan, Part]] = []
        for place, (plan, step) in enumerate(self._steps):
            before, after = self._both(step)
            if not before and not after and not step.same:
                self._note_unread(plan, place, step)
            stays = step.new
            if step.goes and step.old is not None and step.old.retained:
                after, stays = before, step.old  # it leaves the stack and stays in the cloud
            objects = [side.get((Role.OBJECT, "")) for side in (before, after)]
            if any(objects):
                loose.append((place, plan, step, objects))
            for role, name in sorted({*before, *after} - {(Role.OBJECT, "")}):
                identity = (_identity(role, name, step.old), _identity(role, name, stays))
                part = Part(place, step, role, before.get((role, name)), after.get((role, name)), identity)
                if name.startswith(_WILD):
                    wild.append((name.removeprefix(_WILD), plan, part))
                else:
                    self._add(name, plan, part)
        for place, plan, step, objects in loose:
            self._add_object(place, plan, step, objects)
        for name, plan, part in wild:
            if name in self._domains and self._domains[name].publishes:
                self._add(name, plan, part)
        self._complete()
        return [self._domains[name] for name in sorted(self._domains)], self._unclaimed

    def _add_object(
        self, place: int, plan: Plan, step: Step, objects: Sequence[PolicyObject | UnseenError | None]
    ) -> None:
        """Add an object whose key names no domain to those that it is served for."""
        known = [each for each in objects if isinstance(each, PolicyObject)]
        old, new = (_file(each) if isinstance(each, PolicyObject) else each for each in objects)
        names = self._domains_without_key(plan, known[-1])
        if not names and not step.same:
            self._unread.append(Unread(plan, place, step, "its key names no domain"))
        for name in names:
            identity = (_identity(Role.OBJECT, name, step.old), _identity(Role.OBJECT, name, step.new))
            self._add(name, plan, Part(place, step, Role.OBJECT, old, new, identity))

    def _complete(self) -> None:
        """Tell each domain what is known only once all of them are."""
        order = Order([step for _, step in self._steps])
        lifted = [step for _, step in self._steps if step.unprotects and _is_bucket(step.urn)]
        for domain in self._domains.values():
            domain.order = order
            domain.unprotected_buckets = [step for step in lifted if _holds_file_of(step, domain)]
            if self._unread:
                domain.stands_on = order.under(part.place for part in domain.of(Role.EDGE, Role.OBJECT))
        owners = Owners(list(self._domains.values()), frozenset(each.place for each in self._unread))
        for each in self._unread:
            found = list(owners.of(each))
            for domain in found:
                domain.unread.append(each.name)
            if not found and each.may_be_somebodys and not owners.explain(each):
                self._unclaimed.append(f"{each.name}: {each.hidden or f'{each.kind} is not read here'}")
        self._note_components()

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
        for after_, state in enumerate((step.old, step.new)):
            try:
                sides.append(_read(partial(self._all_roles, step, bool(after_))) if state is not None else {})
                unread.append(None)
            except UnseenError as error:
                sides.append({})
                unread.append(error)
        before, after = sides
        if unread[0] is not None:
            before = dict.fromkeys(after, unread[0])
        elif unread[1] is not None:
            after = dict.fromkeys(before, unread[1])
        why = unread[1] or unread[0]
        if why is not None and not before and not after and not _only_a_host(step, known_before=unread[0] is None):
            self._hidden[step.urn] = str(why)
        return before, after

    def _note_unread(self, plan: Plan, place: int, step: Step) -> None:
        """Keep a change that may be one of DNS or of a policy host, and is nothing that can be read here."""
        state = step.new or step.old
        if state is None or (step.old is not None and step.goes and step.old.retained):
            return
        hidden, under = self._hidden.get(step.urn, ""), self._under.get(step.urn, "")
        if state.resource_type in _ZONES:
            under = _zone_that_ends(step)
            hidden = hidden if under else ""
        if state.resource_type in (*RECORDS, *_ZONES) and not hidden and not under:
            return  # read, and nothing of ours
        unread = Unread(plan, place, step, hidden, under)
        if unread.matters:
            self._unread.append(unread)

    def _all_roles(self, step: Step, after: bool) -> dict[tuple[Role, str], Any]:
        state, other = (step.new, step.old) if after else (step.old, step.new)
        return dict(self._roles(state, other, after=after)) if state is not None else {}

    def _roles(self, state: State, other: State | None, *, after: bool) -> Iterator[tuple[tuple[Role, str], Any]]:
        found = policy_object(state)
        if found is not None:
            yield (Role.OBJECT, found.domain), _file(found) if found.domain else found
        edge = distribution(state, wildcards=True)
        if edge is not None:
            meets = Edge.of(edge, self._cache_policies_of(edge, state, after=after))
            for host in edge.hosts:
                name = host.removeprefix(f"{POLICY_HOST_LABEL}.")
                for bucket in _buckets_of(meets):
                    self._served[bucket][name.removeprefix(_WILD)] = None
                yield (Role.EDGE, name), meets
        if (dns := record(state)) is not None:
            yield from self._record(dns, state, other)

    def _record(self, dns: Record, state: State, other: State | None) -> Iterator[tuple[tuple[Role, str], Any]]:
        kind, name = dns.type, self._full_name(dns, state, other)
        if kind in _DELEGATE:
            self._under[state.urn] = name
        if kind == "MX":
            hosts = _known(lambda: MxRecord(frozenset(dns.hosts), dns.ttl, get(state.props, "comment") == LEAVING))
            yield (Role.MX, name), hosts
        for role, label, kinds in (
            (Role.RECORD, STS_LABEL, ("TXT", "CNAME")),
            (Role.REPORTS, TLSRPT_LABEL, ("TXT",)),
            (Role.NAME, POLICY_HOST_LABEL, _HOST_KINDS),
        ):
            if kind in kinds and name.startswith(f"{label}."):
                read: Callable[[Record], Any] = _texts_of
                if kind in _HOST_KINDS:
                    read = _name_of if role is Role.NAME else self._led_elsewhere
                yield (role, name.removeprefix(f"{label}.")), _known(partial(read, dns))

    def _led_elsewhere(self, dns: Record) -> UnseenError:
        """Return why the record at a CNAME can't be seen: the same for the same target, so that it can be compared."""
        target = ", ".join(dns.values)
        return self._elsewhere.setdefault(target, UnseenError(f"what stands at {target} is not in the plan"))

    def _full_name(self, dns: Record, state: State, other: State | None) -> str:
        """Return a record's name with its zone; where the zone's name can't be seen its id stands for it."""
        given = _named_by(state.props)
        for one in (state, other):
            # What the provider said of the one side holds for the other where both say the same of zone and name.
            if one is not None and _named_by(one.props) == given:
                for key in ("fqdn", "hostname"):
                    if isinstance(one.outputs.get(key), str) and "." in one.outputs[key]:
                        return to_ascii(one.outputs[key])
        name = dns.name
        zone = self._zone(state)
        relative = name in ("@", STS_LABEL, TLSRPT_LABEL, POLICY_HOST_LABEL)
        if not relative and (zone is None or f".{name}".endswith(f".{zone}")):
            return name
        if zone is None:
            number = get(state.props, "zoneId") or get(state.props, "hostedZoneId")
            if not isinstance(number, str):
                raise UnseenError("the zone of its name can't be told")
            zone = f"zone-{number}"
        return zone if name == "@" else f"{name}.{zone}"

    def _zone(self, state: State) -> str | None:
        ids = [state.props.get(key) for key in ("zoneId", "hostedZoneId", "zone")]
        found = [self._zones[each] for each in ids if isinstance(each, str) and each in self._zones]
        found += [self._by_urn[urn] for urn in state.dependencies if urn in self._by_urn]
        names = [zone.props.get("name") or zone.props.get("zone") for zone in found]
        return next((to_ascii(name) for name in names if isinstance(name, str)), None)

    def _cache_policies_of(self, edge: Distribution, state: State, *, after: bool) -> Mapping[str, Mapping[str, Any]]:
        """Return the cache policies of the program by id; one that is made only now stands for the unknown id."""
        known = self._cache_policies[after]
        made = [known[urn] for urn in state.dependencies if urn in known]
        given = edge.behaviour.get("cachePolicyId")
        if len(made) == 1 and isinstance(given, str):
            return {**known, given: made[0]}
        return known

    def _domains_without_key(self, plan: Plan, found: PolicyObject) -> list[str]:
        """Return the domains of an object whose key names none: those of its bucket's edge, or the plan's only one."""
        state: Any = found.resource
        buckets = [*filter(_is_bucket, state.dependencies), str(state.props.get("bucket"))]
        served = dict.fromkeys(name for bucket in buckets for name in self._served.get(bucket, ()))
        if served:
            return list(served)
        publishing = [domain.name for domain in self._domains.values() if plan in domain.plans and domain.publishes]
        return publishing if len(publishing) == 1 else []

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


def _identity(role: Role, name: str, state: State | None) -> Hashable:
    """Return what a resource is in the cloud among those of one role and domain, None where nothing tells."""
    if state is None:
        return None
    if role is Role.EDGE:
        return name
    if role is Role.OBJECT:
        place = (state.props.get("bucket"), state.props.get("key"))
        return place if all(isinstance(each, str) and each not in UNKNOWN for each in place) else None
    dns = Record(state)
    try:
        zone = str(get(state.props, "zoneId") or get(state.props, "hostedZoneId") or get(state.props, "zone"))
        if state.resource_type not in CLOUDFLARE:
            return zone, dns.type, str(get(state.props, "setIdentifier") or "")
        # One name holds one CNAME, and no record twice (81053, 81058): Cloudflare refuses the second.
        return zone, dns.type, "" if dns.type == "CNAME" else tuple(dns.values)
    except UnseenError:
        return None


def _name_of(dns: Record) -> Name:
    return Name(tuple(map(to_ascii, dns.values)), dns.ttl, dns.proxied)


def _texts_of(dns: Record) -> Texts:
    return Texts(tuple(dns.texts), dns.ttl)


def _named_by(props: Mapping[str, Any]) -> list[Any]:
    """Return what decides a record's full name."""
    return [props.get(key) for key in ("zoneId", "hostedZoneId", "zone", "name")]


def _only_a_host(step: Step, *, known_before: bool) -> bool:
    """Tell whether a record that named nothing of ours can at most become the name of a new policy host."""
    state = step.new or step.old
    return known_before and state is not None and state.props.get("type") in _HOST_KINDS


def _zone_that_ends(step: Step) -> str:
    """Return the name of a zone that goes, or no longer answers as it did; empty for any other change."""
    old = step.old
    if old is None or (not step.goes and step.op != "replace" and not _paused(step)):
        return ""
    name = old.props.get("name") or old.props.get("zone")
    return to_ascii(name) if isinstance(name, str) else ""


def _paused(step: Step) -> bool:
    states = [state.props for state in (step.old, step.new) if state is not None]
    return any(states[0].get(key) != states[-1].get(key) for key in ("paused", "type", "name", "zone"))


def _file(found: PolicyObject) -> Any:
    """Return what is served of an object, or the UnseenError that says why it can't be told."""

    def read() -> File:
        try:
            return File(found.body.decode(), found.cache_control, tuple(found.faults))
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
    for origin in edge.settings.get("origins") or ():
        name, found, _ = str(origin.get("domainName")).partition(".s3")
        if found:
            yield name
