"""Reads the resources of plans, of whatever cloud, and tells which mail domain each is a part of."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

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
from mta_sts.names import to_ascii
from mta_sts.review.parts import Edge, File, MxRecord, Name, Part, Role, Texts, is_bucket, seen, seen_or_why
from mta_sts.review.unread import Owners, Unread
from mta_sts.review.world import Domain, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from mta_sts.cloud_resources import Distribution
    from mta_sts.review.plan import Plan, State, Step

_ZONES = ("cloudflare:index/zone:Zone", "aws:route53/zone:Zone")
_CACHE_POLICY = "aws:cloudfront/cachePolicy:CachePolicy"
_DOMAIN_COMPONENT = f"{COMPONENT_PACKAGE}MtaSts"
_HOST_KINDS = ("CNAME", "A", "AAAA")
_DELEGATE = ("NS", "DS")
_WILD = "*."


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
        lifted = [step for _, step in self._steps if step.unprotects and is_bucket(step.urn)]
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
                sides.append(seen(partial(self._all_roles, step, bool(after_))) if state is not None else {})
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
                for bucket in meets.buckets():
                    self._served[bucket][name.removeprefix(_WILD)] = None
                yield (Role.EDGE, name), meets
        if (dns := record(state)) is not None:
            yield from self._record(dns, state, other)

    def _record(self, dns: Record, state: State, other: State | None) -> Iterator[tuple[tuple[Role, str], Any]]:
        kind, name = dns.type, self._full_name(dns, state, other)
        if kind in _DELEGATE:
            self._under[state.urn] = name
        if kind == "MX":
            hosts = seen_or_why(lambda: MxRecord(frozenset(dns.hosts), dns.ttl, get(state.props, "comment") == LEAVING))
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
                yield (role, name.removeprefix(f"{label}.")), seen_or_why(partial(read, dns))

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
        buckets = [*filter(is_bucket, state.dependencies), str(state.props.get("bucket"))]
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

    return seen_or_why(read)


def _holds_file_of(bucket: Step, domain: Domain) -> bool:
    """Tell whether a bucket holds the domain's policy file: by what the object depends on, or names."""
    known = {state.props.get("bucket") or state.id for state in (bucket.old, bucket.new) if state is not None}
    return any(
        state is not None and (bucket.urn in state.dependencies or state.props.get("bucket") in known)
        for part in domain.parts
        if part.role is Role.OBJECT
        for state in (part.step.old, part.step.new)
    )
