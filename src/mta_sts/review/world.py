"""A mail domain in plans: what stands before and after, and what happens in which order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from mta_sts.cloud_resources import UNKNOWN, UnseenError
from mta_sts.findings import MtaStsError
from mta_sts.records import select_sts_record
from mta_sts.review.parts import Edge, MxRecord, Name, Role, seen

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from mta_sts.review.parts import File, Part
    from mta_sts.review.plan import Plan, Step


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
        # No set: a plan may hold a list there.
        found = [
            state.props.get("bucket")
            for part in self.of(Role.OBJECT)
            for state in (part.step.old, part.step.new)
            if state is not None
        ]
        edges = [value for part in self.of(Role.EDGE) for value in (part.old, part.new) if isinstance(value, Edge)]
        return frozenset(
            name
            for name in (*found, *(bucket for edge in edges for bucket in edge.buckets()))
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
        kept: list[int] = [seen(partial(edge.seconds_kept, control)) for edge in self.values(Role.EDGE)]
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
