"""Changes that are not read here, and whose they may be: other providers' records, zones, whatever serves a policy."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mta_sts.cloud_resources import COMPONENT_PACKAGE, POLICY_HOST_LABEL, STS_LABEL, TLSRPT_LABEL, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mta_sts.review.plan import Plan, Step
    from mta_sts.review.world import Domain

_MAY_SERVE = re.compile(
    r"function|worker|lambda|apigateway|pages|object|blob|site|webapp|appservice|/kv", re.IGNORECASE
)
"""Types of what may serve a policy without being an object whose key says so."""
_RECORD_LIKE = re.compile(r"record(?!er)|/mx|dns\w*[:/]\w*zone", re.IGNORECASE)
_NO_MATTER = re.compile(
    r"versioning|logging|notification|metric|inventory|analytics|tiering|accelerat|objectLock|cachePolicy",
    re.IGNORECASE,
)
"""Settings of a bucket or a distribution that are read elsewhere, or that no sender meets."""
_HOLDS_UP = re.compile(r"bucket|originAccess", re.IGNORECASE)
"""What of our own component nothing can be served without; functions and certificates it replaces as it grows."""
_SAYS_NOTHING = ("tags", "tagsAll", "comment", "description", "__defaults")
_OF_POLICY = re.compile(rf"stsv1|(?<![a-z0-9-])_?{POLICY_HOST_LABEL}\.[a-z0-9]")
_ENGINE = ("pulumi:providers:", "pulumi:pulumi:")


@dataclass(frozen=True)
class Unread:
    """A change of which nothing is known but its texts."""

    plan: Plan
    place: int
    step: Step
    hidden: str = ""
    """Why a record or an object could not be read; empty where its kind is not read at all."""
    under: str = ""
    """The name at and under which it decides all of DNS: a zone that goes, a delegation."""

    @property
    def name(self) -> str:
        """Its name in the program."""
        return self.step.urn.rpartition("::")[2]

    @cached_property
    def kind(self) -> str:
        """Its type."""
        return self.step.urn.split("::")[2].rpartition("$")[2]

    @cached_property
    def matters(self) -> bool:
        """Whether it can be anybody's: a change that says something, of something that our component does not make."""
        if self.kind.startswith((*_ENGINE, COMPONENT_PACKAGE)):
            return False
        if COMPONENT_PACKAGE in self.step.urn and not (self.step.goes and _HOLDS_UP.search(self.kind)):
            return False
        return not self._says_nothing and (not self.record_like or self._may_be_read_by_mail)

    @property
    def _says_nothing(self) -> bool:
        old, new = self.step.old, self.step.new
        if self.step.op != "update" or old is None or new is None or self.hidden or UNKNOWN & self.texts:
            return False
        plain = [{key: each for key, each in one.props.items() if key not in _SAYS_NOTHING} for one in (old, new)]
        return plain[0] == plain[1]

    @cached_property
    def texts(self) -> frozenset[str]:
        """Every text in its inputs, in small letters."""
        states = (self.step.old, self.step.new)
        return frozenset(text.lower() for state in states if state is not None for text in _texts(state.props))

    @cached_property
    def _all(self) -> str:
        return "\n".join(self.texts)

    @property
    def record_like(self) -> bool:
        """Whether it is a record, or several, of a provider that is not read."""
        return not self.hidden and not self.under and bool(_RECORD_LIKE.search(self.kind))

    @property
    def _may_be_read_by_mail(self) -> bool:
        """Whether senders may look such a record up: by its type, its name, or because neither can be told."""
        states = [state.props for state in (self.step.old, self.step.new) if state is not None]
        kinds = {str(props.get(key)).upper() for props in states for key in ("type", "recordType") if props.get(key)}
        kinds = {kind.rpartition("/")[2] for kind in kinds}
        names = [value for props in states for key, value in props.items() if "name" in key.lower()]
        labels = (POLICY_HOST_LABEL, STS_LABEL, TLSRPT_LABEL)
        return (
            not kinds
            or bool({"MX", *(known.upper() for known in UNKNOWN)} & kinds)
            or "mx" in self.texts
            or any(value in UNKNOWN for value in names if isinstance(value, str))
            or any(label in text for label in labels for text in self.texts)
        )

    @cached_property
    def of_policy(self) -> bool:
        """Whether it names a policy host, or holds a policy or a record of one."""
        return bool(_OF_POLICY.search(self._all))

    @property
    def may_be_somebodys(self) -> bool:
        """Whether it may matter to a domain of which the plan has nothing else."""
        gone = self.under and self.step.goes
        new_certificate = "certificate" in self.kind.lower() and self.step.op == "create"
        policy = self.of_policy and not new_certificate
        return self.matters and bool(self.hidden or self.record_like or policy or gone)

    def may_be_of(self, domain: Domain) -> bool:
        """Whether it may decide what senders of mail to this domain find."""
        if self.plan not in domain.plans or not self.matters:
            return False
        if self.under:
            return self._decides_names_of(domain)
        if self.hidden or self.record_like:
            return bool(self.hidden) or domain.name in self._all
        if self._another_file:
            return domain.publishes and not domain.shows_file and self._names_bucket_of(domain)
        return self._may_serve(domain) or self._upholds(domain)

    def _decides_names_of(self, domain: Domain) -> bool:
        own = {f"{label}.{domain.name}" for label in (POLICY_HOST_LABEL, STS_LABEL, TLSRPT_LABEL)}
        return f".{domain.name}".endswith(f".{self.under}") or self.under in own

    def _may_serve(self, domain: Domain) -> bool:
        """Whether it names the domain and is of a kind that serves, or of any kind where nothing known serves it."""
        named = domain.name in self._all
        if _MAY_SERVE.search(self.kind) and (named or (domain.publishes and not domain.shows_file)):
            return True
        if "certificate" in self.kind.lower():
            hosts = {f"{POLICY_HOST_LABEL}.{domain.name}", f"*.{domain.name}"}
            return self.step.op != "create" and bool(hosts & self.texts)
        shown = domain.ours or (domain.shows_file and domain.shows_edge)
        return domain.publishes and not shown and (named or self.of_policy)

    def _upholds(self, domain: Domain) -> bool:
        """Whether what serves the domain's policy now stands on it, or reads from the bucket that it names."""
        if not domain.served_before or _NO_MATTER.search(self.kind):
            return False
        if self.place in domain.stands_on:
            return True
        states = [state.props for state in (self.step.old, self.step.new) if state is not None]
        named = any(str(props.get("name") or "?") in domain.code_at_the_edge for props in states)
        return self._names_bucket_of(domain) or ("function" in self.kind.lower() and named)

    def _names_bucket_of(self, domain: Domain) -> bool:
        named = [state.props.get("bucket") for state in (self.step.old, self.step.new) if state is not None]
        return any(bucket in named for bucket in domain.buckets)

    @property
    def _another_file(self) -> bool:
        """Whether it is a file whose key and text are not those of a policy."""
        keys = [state.props.get("key") for state in (self.step.old, self.step.new) if state is not None]
        known = all(isinstance(key, str) and key not in UNKNOWN and POLICY_HOST_LABEL not in key for key in keys)
        return known and "object" in self.kind.lower() and not self.of_policy


class Owners:
    """Finds the domains that a change may be of, without asking each one about each."""

    def __init__(self, domains: Sequence[Domain], places: frozenset[int]) -> None:
        """Look at these domains; `places` are those of the changes that will be asked about."""
        self._all = domains
        self._by_name = {domain.name: domain for domain in domains}
        self._half_shown = [each for each in domains if each.publishes and not (each.shows_file and each.shows_edge)]
        self._by_place: dict[int, list[Domain]] = defaultdict(list)
        self._by_word: dict[str, list[Domain]] = defaultdict(list)
        """By the names of buckets, and of functions at the edge."""
        for domain in domains:
            for place in domain.stands_on & places:
                self._by_place[place].append(domain)
            for word in (*domain.buckets, *_WORD.findall(domain.code_at_the_edge)):
                self._by_word[word].append(domain)

    def explain(self, change: Unread) -> bool:
        """Whether it names only policy hosts of domains that are known, which were asked and know better."""
        hosts = {host for text in change.texts for host in _HOST.findall(text) if f"{POLICY_HOST_LABEL}." in host}
        known = [host.rpartition(f"{POLICY_HOST_LABEL}.")[2] in self._by_name for host in hosts]
        plain = not change.hidden and not change.record_like and not change.under
        return plain and bool(known) and all(known) and not any("stsv1" in text for text in change.texts)

    def of(self, change: Unread) -> Iterator[Domain]:
        """Yield the domains."""
        if change.hidden or change.under:
            asked = self._all
        else:
            states = [state.props for state in (change.step.old, change.step.new) if state is not None]
            words = [props[key] for props in states for key in ("bucket", "name") if isinstance(props.get(key), str)]
            named = [self._by_name[name] for name in _names(change.texts) if name in self._by_name]
            near = [domain for word in words for domain in self._by_word.get(word, ())]
            asked = [*named, *near, *self._by_place.get(change.place, ()), *self._half_shown]
        seen: set[str] = set()
        for domain in asked:
            if domain.name not in seen and change.may_be_of(domain):
                yield domain
            seen.add(domain.name)


_WORD = re.compile(r"[\w-]+")
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_EDGE_OF_A_NAME = re.compile(r"(?<=[._-])(?=[a-z0-9])")
_LONGEST_NAME = 255


def _names(texts: Iterable[str]) -> set[str]:
    """Return every name that stands in texts, also between hyphens: `a-example.com-b` has `example.com` in it."""
    found: set[str] = set()
    for host in {host for text in texts for host in _HOST.findall(text) if len(host) <= _LONGEST_NAME}:
        starts = [0, *(edge.start() for edge in _EDGE_OF_A_NAME.finditer(host))]
        ends = [*(start - 1 for start in starts[1:]), len(host)]
        found.update(host[start:end] for start in starts for end in ends if start < end)
    return found


def _texts(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, str):
            yield here
        elif isinstance(here, dict):
            stack += here.values()
        elif isinstance(here, list):
            stack += here
