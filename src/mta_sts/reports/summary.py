"""Reports into sums: per domain, policy and policy body, MX host, result type, organisation and day.

The same report often arrives twice, by mail and as a file: it counts once. Sessions under `sts` and under
`tlsa` may be the same sessions, so policy types are never added up.
"""

from __future__ import annotations

import marshal
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import orjson

from mta_sts.reports.parse import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from mta_sts.reports.containers import Unreadable
    from mta_sts.reports.parse import Report

PARTITIONS = 256
_KEEP_RECORDS = 16_384  # a kilobyte each
_KEEP_BYTES = 8 * 2**20
_MAX_REASONS = 3
_MAX_CONFLICTS = 100
_MAX_DAYS = 31
_LENGTH = struct.Struct("<I")

Record = tuple[Any, ...]
"""The values of a Report in its order, policies of other domains left out."""


def about(report: Report, domains: Collection[str]) -> Report | None:
    """Return a report without policies of other domains than these, or None where there are no others.

    A policy without a domain is kept: it may be about any.
    """
    policies = tuple([policy for policy in report.policies if policy[0] in domains or not policy[0]])
    return report._replace(policies=policies) if policies else None


def _identity(entry: Record) -> str:
    """Return what copies of a report share; two policy domains under one id are two reports of a careless sender."""
    organization, report_id, _, _, policies, _, _, _ = entry
    domains = policies[0][0] if len(policies) == 1 else " ".join(sorted({policy[0] for policy in policies}))
    return f"{organization.casefold()}\0{report_id}\0{domains}"


class Spill:
    """Records in memory while they are few, then packed into partitions, then on disk, so that memory stays the same.

    All copies of a report are in one partition; each can then be summed up alone.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder = folder
        self._owner = owner
        self._records: list[Record] = []
        self._packed = False
        self._chunks: dict[int, list[bytes]] = defaultdict(list)
        self._size = 0

    def add(self, entry: Record) -> None:
        """Keep one record."""
        self._records.append(entry)
        if len(self._records) >= _KEEP_RECORDS:
            self._pack()

    def few(self) -> list[Record] | None:
        """Return all records where they are so few that none had to be packed."""
        return None if self._packed else self._records

    def absorb(self, chunks: Mapping[int, list[bytes]]) -> None:
        """Take over what another process packed."""
        self._packed = True
        for partition, packed in chunks.items():
            self._chunks[partition] += packed
            self._size += sum(map(len, packed))
        if self._size >= _KEEP_BYTES:
            self._write()

    def take(self) -> dict[int, list[bytes]]:
        """Hand over what is in memory."""
        self._pack()
        chunks, self._chunks, self._size = dict(self._chunks), defaultdict(list), 0
        return chunks

    def _pack(self) -> None:
        partitions: dict[int, list[Record]] = defaultdict(list)
        for entry in self._records:
            # Of named tuples marshal knows nothing.
            partitions[crc32(_identity(entry).encode(errors="replace")) % PARTITIONS].append(tuple(entry))
        self._records = []
        self.absorb({partition: [marshal.dumps(records)] for partition, records in partitions.items()})

    def _write(self) -> None:
        for partition, packed in self._chunks.items():
            with (self._folder / f"{partition}.{self._owner}").open("ab") as file:
                for chunk in packed:
                    file.write(_LENGTH.pack(len(chunk)))
                    file.write(chunk)
        self._chunks = defaultdict(list)
        self._size = 0


def written_partitions(folder: Path) -> dict[int, list[str]]:
    """Return the files of each partition, by whoever wrote them."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in folder.iterdir():
        found[int(path.name.partition(".")[0])].append(str(path))
    return found


def partition_records(files: Iterable[str], chunks: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records of one partition: those on disk and those handed over."""
    for name in files:
        with Path(name).open("rb") as file:
            while head := file.read(_LENGTH.size):
                yield from marshal.loads(file.read(_LENGTH.unpack(head)[0]))  # noqa: S302  our own private file
    for chunk in chunks:
        yield from marshal.loads(chunk)  # noqa: S302  from our own worker process


class GroupKey(NamedTuple):
    """What is never added up with anything else; `signed` tells whether a valid DKIM signature came with it."""

    domain: str
    policy_type: str
    body: str
    signed: bool


class FailureKey(NamedTuple):
    """One kind of failure as one organisation reports it."""

    result_type: str
    mx: str
    organization: str


@dataclass(slots=True)
class Tally:
    """Sessions and reports; `failed_unknown` counts reports whose number of failures is not known."""

    successful: int = 0
    failed: int = 0
    failed_unknown: int = 0
    reports: int = 0

    def add(self, successful: int, failed: int, failed_unknown: int, reports: int = 1) -> None:
        """Count more sessions in."""
        self.successful += successful
        self.reports += reports
        if failed or failed_unknown:
            self.failed += failed
            self.failed_unknown += failed_unknown

    def merge(self, other: Tally) -> None:
        """Count another tally in."""
        self.add(other.successful, other.failed, other.failed_unknown, other.reports)


class SenderKey(NamedTuple):
    """Who reports: the name it gives itself, and the domain that signed, empty where none did."""

    organization: str
    signer: str


@dataclass(slots=True)
class Sender:
    """What one organisation reports; `last_success` is the last day with a session that was fine, if there is one."""

    tally: Tally
    first_day: str
    last_day: str
    last_success: str = ""


@dataclass(slots=True)
class FailureTally:
    """Failed sessions of one kind, with the first few reasons that were given.

    `days` has the sessions by first day of their reports, None where those are more than a month's.
    """

    sessions: int
    first_day: str
    last_day: str
    reasons: set[str] = field(default_factory=set)
    days: dict[str, int] | None = field(default_factory=dict)

    def add(self, sessions: int, first_day: str, last_day: str, days: Mapping[str, int] | None) -> None:
        """Count more sessions in."""
        self.sessions += sessions
        self.first_day = min(self.first_day, first_day)
        self.last_day = max(self.last_day, last_day)
        if self.days is not None:
            for day, count in (days or {}).items():
                self.days[day] = self.days.get(day, 0) + count
            if days is None or len(self.days) > _MAX_DAYS:
                self.days = None


@dataclass(slots=True)
class Group:
    """All sums under one key; a day is the first UTC day of the reports counted in it."""

    days: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    senders: dict[SenderKey, Sender] = field(default_factory=dict)
    failures: dict[FailureKey, FailureTally] = field(default_factory=dict)

    @property
    def tally(self) -> Tally:
        """All days together."""
        total = Tally()
        for day in self.days.values():
            total.merge(day)
        return total

    def fail(self, key: FailureKey, sessions: int, reason: str, first_day: str, last_day: str) -> None:
        """Count failed sessions of one report in."""
        failure = self.failures.get(key)
        if failure is None:
            failure = self.failures[key] = FailureTally(0, first_day, last_day)
        failure.add(sessions, first_day, last_day, {first_day: sessions})
        if reason and reason not in failure.reasons:
            failure.reasons = _first({*failure.reasons, reason}, _MAX_REASONS)

    def merge(self, other: Group) -> None:
        """Count another group in."""
        for day, tally in other.days.items():
            self.days[day].merge(tally)
        for who, sender in other.senders.items():
            mine = self.senders.get(who)
            if mine is None:
                self.senders[who] = sender
                continue
            mine.tally.merge(sender.tally)
            mine.first_day = min(mine.first_day, sender.first_day)
            mine.last_day = max(mine.last_day, sender.last_day)
            mine.last_success = max(mine.last_success, sender.last_success)
        for key, failure in other.failures.items():
            known = self.failures.get(key)
            if known is None:
                self.failures[key] = failure
                continue
            known.add(failure.sessions, failure.first_day, failure.last_day, failure.days)
            known.reasons = _first(known.reasons | failure.reasons, _MAX_REASONS)


@dataclass(slots=True)
class Warned:
    """How often a quirk was seen, and one place where."""

    count: int
    example: str


class Conflict(NamedTuple):
    """Two different reports under one organisation and report-id: the failures of both count.

    The successes are those of the one at `counted` alone.
    """

    organization: str
    report_id: str
    counted: str
    other: str


@dataclass(slots=True)
class Summary:
    """Everything that was read, in sums that do not depend on the order of reading."""

    groups: dict[GroupKey, Group] = field(default_factory=lambda: defaultdict(Group))
    files: int = 0
    reports: int = 0
    other_domains: int = 0
    duplicates: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    conflict_count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    warnings: dict[str, Warned] = field(default_factory=dict)
    digests: list[bytes] = field(default_factory=list)
    """SHA-256 of each counted report, where asked for."""
    origin: str = ""

    def merge(self, other: Summary) -> None:
        """Count another summary in."""
        for key, group in other.groups.items():
            self.groups[key].merge(group)
        self.files += other.files
        self.reports += other.reports
        self.other_domains += other.other_domains
        self.duplicates += other.duplicates
        self.conflicts = sorted([*self.conflicts, *other.conflicts])[:_MAX_CONFLICTS]
        self.conflict_count += other.conflict_count
        self.unreadable += other.unreadable
        self.digests += other.digests
        for name, warned in other.warnings.items():
            self._warn(name, warned.count, warned.example)

    def _warn(self, name: str, count: int, example: str) -> None:
        known = self.warnings.get(name)
        if known is None:
            self.warnings[name] = Warned(count, example)
        else:
            known.count += count
            known.example = min(known.example, example)

    def sum_up(self, records: Iterable[Record], *, digest: bool = False) -> None:
        """Count the records of one partition in, each report once."""
        single: dict[str, Record] = {}
        several: dict[str, dict[Record, Record]] = {}
        for entry in records:
            identity = _identity(entry)
            known = single.setdefault(identity, entry)
            if known is entry:
                continue
            self.duplicates += 1
            copies = several.setdefault(identity, {_version(known): known})
            version = _version(entry)
            # Copies that say the same are one, and it is the same one whatever came first.
            copies[version] = min(copies.get(version, entry), entry)
        for identity, entry in single.items():
            if identity in several:
                self._count_versions(several[identity].values(), digest)
            else:
                self._count(entry, digest)
        self.conflicts = sorted(self.conflicts)[:_MAX_CONFLICTS]

    def _count_versions(self, copies: Iterable[Record], digest: bool) -> None:
        counted, others = _versions(copies)
        for each in counted:
            self._count(each, digest)
        for each in others:
            self._count(each, digest, failures_only=True)
        first = counted[0]
        for each in (*counted[1:], *others):
            if each[2:5] != first[2:5]:
                self.conflict_count += 1
                self.conflicts.append(Conflict(first[0], first[1], clean(first[6], 1024), clean(each[6], 1024)))

    def _count(self, entry: Record, digest: bool, *, failures_only: bool = False) -> None:
        # Sums are looked up by plain tuples, which equal named ones: naming takes longer than adding up.
        organization, _, first_day, last_day, policies, warnings, name, signer = entry
        if digest:
            self.digests.append(sha256(orjson.dumps((_identity(entry), *entry[:5]))).digest())
        for warning in warnings:
            self._warn(warning, 1, clean(name, 1024))
        reports = 0 if failures_only else 1
        self.reports += reports
        for domain, policy_type, body, fine, failed, unknown, failures in policies:
            if failures_only and not failures:
                continue
            successful = fine * reports
            key: Any = (domain, policy_type, body, bool(signer))
            group = self.groups.get(key)
            if group is None:
                group = self.groups[GroupKey(*key)] = Group()
            group.days[first_day].add(successful, failed, unknown, reports)
            key = (organization, signer)
            sender = group.senders.get(key)
            if sender is None:
                sender = group.senders[SenderKey(*key)] = Sender(Tally(), first_day, last_day)
            sender.tally.add(successful, failed, unknown, reports)
            if first_day < sender.first_day or last_day > sender.last_day:
                sender.first_day = min(sender.first_day, first_day)
                sender.last_day = max(sender.last_day, last_day)
            if successful and first_day > sender.last_success:
                sender.last_success = first_day
            for result_type, mx, sessions, reason in failures:
                group.fail(FailureKey(result_type, mx, organization), sessions, reason, first_day, last_day)


def _version(entry: Record) -> Record:
    """Return what makes copies of a report the same: days, policies and who signed."""
    return (*entry[2:5], entry[7])


def _versions(copies: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Return the versions of one report that count whole, and those of which the failures count alone.

    The failures of every version count: a forged one hides none by being dated otherwise, or by having more.
    Whole counts, for each domain that signed, the worst version that it signed; an unsigned one only where none is
    signed, so that nobody can take away what a signature proves either.
    """
    ranked = sorted(copies, key=_rank, reverse=True)
    whole: dict[str, Record] = {}
    for copy in [copy for copy in ranked if copy[7]] or ranked:
        whole.setdefault(copy[7], copy)
    known = {copy[2:5] for copy in whole.values()}
    others = {copy[2:5]: copy for copy in ranked if copy[2:5] not in known}
    return list(whole.values()), list(others.values())


def _rank(entry: Record) -> tuple[Any, ...]:
    """Order versions of a report: the worst one first, whatever came first."""
    policies = entry[4]
    unknown = sum(policy[5] for policy in policies)
    failed = sum(policy[4] for policy in policies)
    successful = sum(policy[3] for policy in policies)
    return (unknown, failed, -successful, repr(entry[2:]))


def _first(values: set[str], count: int) -> set[str]:
    return values if len(values) <= count else set(sorted(values)[:count])
