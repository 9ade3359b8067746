"""Judge the records: `_mta-sts`, `_smtp._tls`, where they stand, and whether everybody gives the same answer."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from mta_sts.checks.lookup import Failure, Looked
from mta_sts.checks.report import Area, Kind, Point
from mta_sts.findings import MtaStsError
from mta_sts.policy import Mode
from mta_sts.records import (
    STS_PREFIX,
    TLSRPT_PREFIX,
    check_rua,
    select_sts_record,
    select_tlsrpt_record,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mta_sts.checks.observe import Seen

_LONG_TTL = 86_400
_STS_LIKE = re.compile(r"\s*v\s*=\s*[\"']?STSv", re.IGNORECASE)
_TLSRPT_LIKE = re.compile(r"\s*v\s*=\s*[\"']?TLSRPTv", re.IGNORECASE)
_RULES = {Failure.SERVFAIL: "dns-servfail", Failure.REFUSED: "dns-refused", Failure.CNAME_LOOP: "cname-loop"}


def lookup_failure(area: Area, looked: Looked) -> Point | None:
    """Return why a name can't be looked up, None where it can."""
    name = looked.name
    if looked.failure is None:
        return None
    if looked.failure is Failure.TIMEOUT:
        message = f"no answer came for {looked.kind}, so nothing is known; run again, or ask another --resolver"
        return Point(area, Kind.SKIPPED, "dns-timeout", name, message)
    chain = " → ".join((name, *looked.cnames))
    if looked.failure is Failure.CNAME_LOOP:
        message = f"CNAME records lead in a circle ({chain}); let `{name} CNAME` name the host that is meant"
    elif looked.failure is Failure.REFUSED:
        message = (
            f"the servers of the zone refuse to answer for {looked.kind} (REFUSED): it is delegated to servers that "
            f"do not serve it; compare `dig NS` of the zone at its parent and at the servers"
        )
    else:
        at_end = f" at the end of {chain}" if looked.cnames else ""
        message = (
            f"{looked.kind} can't be looked up{at_end} (SERVFAIL): senders see a failure, not a record; "
            f"see what `dig +trace {looked.kind} {name}` and DNSSEC say"
        )
    return Point(area, Kind.ERROR, _RULES[looked.failure], name, message)


def zone_failure(seen: Seen) -> Point | None:
    """Return the one failure of all names of a domain, None where any of them can be looked up."""
    failures = {one.failure if one else None for one in (seen.mx, seen.sts, seen.tlsrpt, seen.host)}
    same = len(failures) == 1 and None not in failures
    return lookup_failure(Area.RECORD, seen.mx) if same and seen.mx else None


def judge_record(seen: Seen) -> Iterator[Point]:
    """Judge `_mta-sts` (RFC 8461 §3.1)."""
    looked = seen.sts
    if looked is None:
        return
    failed = lookup_failure(Area.RECORD, looked)
    if failed:
        yield failed
        return
    yield from _texts(Area.RECORD, looked, seen, STS_PREFIX, _STS_LIKE)
    stated = [value for value in looked.values if value.startswith(STS_PREFIX)]
    if len(stated) == 1:
        try:
            select_sts_record(stated)
        except MtaStsError as error:
            yield from (Point.of(Area.RECORD, found, looked.name) for found in error.findings)
        yield from _tags(Area.RECORD, looked.name, stated[0], ("v", "id"))
    if looked.values and looked.ttl > _LONG_TTL:
        message = f"the TTL is {looked.ttl} s, so a change stays unseen for that long; set it to 300"
        yield Point(Area.RECORD, Kind.WARNING, "ttl-long", looked.name, message)


def judge_reports(seen: Seen) -> Iterator[Point]:
    """Judge `_smtp._tls` (RFC 8460 §3)."""
    looked = seen.tlsrpt
    if looked is None:
        return
    failed = lookup_failure(Area.REPORTS, looked)
    if failed:
        yield failed
        return
    yield from _texts(Area.REPORTS, looked, seen, TLSRPT_PREFIX, _TLSRPT_LIKE)
    stated = [value for value in looked.values if value.startswith(TLSRPT_PREFIX)]
    if len(stated) != 1:
        return
    yield from _tags(Area.REPORTS, looked.name, stated[0], ("v", "rua"))
    try:
        rua = select_tlsrpt_record(stated).rua
    except MtaStsError as error:
        yield from (Point.of(Area.REPORTS, found, looked.name) for found in error.findings)
        return
    for index, uri in enumerate(rua):
        yield from (Point.of(Area.REPORTS, found, looked.name) for found in check_rua(uri, f"rua[{index}]"))
    for uri, count in Counter(uri.lower() for uri in rua).items():
        if count > 1:
            message = f"{uri} is named {count} times, so reports come in copies; name it once"
            yield Point(Area.REPORTS, Kind.WARNING, "rua-twice", looked.name, message)
    if len(set(rua)) > 1:
        message = (
            f"reports go to {len(set(rua))} addresses; some senders use the first only: put the one you read there"
        )
        yield Point(Area.REPORTS, Kind.NOTE, "rua-several", looked.name, message)


def _texts(area: Area, looked: Looked, seen: Seen, prefix: str, like: re.Pattern[str]) -> Iterator[Point]:
    """Judge which TXT values stand at a name, whatever the one that counts states."""
    name = looked.name
    sts = prefix == STS_PREFIX
    severity = Kind.ERROR if sts else Kind.WARNING
    record = f'{name} TXT "{prefix} {"id=…;" if sts else "rua=mailto:tls-reports@" + seen.domain}"'
    stated = [value for value in looked.values if value.startswith(prefix)]
    others = [value for value in looked.values if not value.startswith(prefix)]
    misspelt = next((value for value in others if like.match(value)), None)
    wild = seen.wildcard.values if seen.wildcard else ()
    astray = [value for value in (seen.apex.values if seen.apex else ()) if like.match(value)]
    if not stated and others and set(others) <= set(wild):
        message = (
            f"a wildcard TXT (`*.{seen.domain}`) answers here with {_short(others)}, and the record itself is missing; "
            f"add `{record}`"
        )
        yield Point(area, severity, "wildcard-txt", name, message)
    elif not stated and misspelt is not None:
        message = f"{_short([misspelt])} does not begin with `{prefix}`, so senders see no record; write `{record}`"
        yield Point(area, Kind.ERROR, "version-spelling", name, message)
    elif not stated and astray:
        message = f"the record stands at {seen.domain} itself, where no sender looks; move it: `{record}`"
        yield Point(area, severity, "record-at-apex", name, message)
    elif not stated and (sts or seen.mode is not Mode.NONE or others):
        yield _missing(area, looked, seen, record, others)
    elif stated:
        yield from _crowd(area, name, stated, others, prefix)
        if astray:
            message = f"{_short(astray)} stands at {seen.domain} itself too, where it does nothing; delete it there"
            yield Point(area, Kind.WARNING, "record-at-apex", seen.domain, message)


def _missing(area: Area, looked: Looked, seen: Seen, record: str, others: Sequence[str]) -> Point:
    severity = Kind.ERROR if area is Area.RECORD else Kind.WARNING
    if looked.cnames:
        message = (
            f"leads to {looked.cnames[-1]}, where no record stands; ask its provider, or put `{record}` in its place"
        )
        return Point(area, severity, "cname-leads-nowhere", looked.name, message)
    found = f"only {_short(others)} stands there" if others else "there is no record"
    if area is Area.REPORTS:
        message = f"{found}: failures stay unseen (RFC 8460); add `{record}`"
        return Point(area, severity, "tlsrpt-record-missing", looked.name, message)
    if seen.host is not None and not seen.host.values and not seen.host.failure and not others:
        message = (
            f"the domain publishes no MTA-STS; serve a policy at https://mta-sts.{seen.domain}, then add `{record}`"
        )
        return Point(area, severity, "no-mta-sts", looked.name, message)
    message = f"{found}, so senders see no policy; add `{record}` (those that hold a policy go on with it)"
    return Point(area, severity, "sts-record-missing", looked.name, message)


def _crowd(area: Area, name: str, stated: list[str], others: list[str], prefix: str) -> Iterator[Point]:
    """Judge what stands beside the one record: senders differ, so there is to be nothing."""
    if len(stated) > 1:
        message = f"{len(stated)} records begin with `{prefix}`, so senders see none; keep one of {_short(stated)}"
        yield Point(area, Kind.ERROR, "not-one-record", name, message)
    if others:
        kind = Kind.ERROR if area is Area.RECORD else Kind.WARNING
        message = f"TXT {_short(others)} stands here too, and some senders then see no record; delete it"
        yield Point(area, kind, "record-in-the-way", name, message)


def _tags(area: Area, name: str, text: str, known: tuple[str, ...]) -> Iterator[Point]:
    tags = Counter(part.partition("=")[0].strip() for part in text.split(";") if part.strip())
    for tag, count in tags.items():
        if tag in known and count > 1:
            message = f"{tag} is given {count} times, and senders differ in which one counts; keep one"
            yield Point(area, Kind.ERROR, "tag-twice", name, message)
        elif tag not in known:
            message = f"{tag[:40]!r} is no tag that senders know; take it out"
            yield Point(area, Kind.WARNING, "tag-unknown", name, message)


def judge_agreement(seen: Seen) -> Iterator[Point]:
    """Judge whether every name server and resolver says what the resolver said; one point a server."""
    looked = {(one.name, one.kind): one for one in (seen.sts, seen.mx) if one and not one.failure and not one.cnames}
    reached = any(not one.problem for one in seen.said)  # else our own network may be to blame
    servers: dict[tuple[str, str], list[str]] = {}
    for one in seen.said:
        asked = looked.get((one.name, one.kind))
        if asked is None:
            continue  # that it can't be looked up is said already
        if one.problem and reached:
            what = f"{one.problem}, so some look-ups fail or are late; let it serve the zone, or take it out of it"
            servers.setdefault((one.server, what), []).append(one.address)
        elif one.values is not None and set(one.values) != set(asked.values):
            what = f"says {_short(one.values) or 'nothing'} for {one.name} {one.kind}"
            servers.setdefault((one.server, what), []).append(one.address)
    by_server: dict[str, list[str]] = {}
    for (server, what), addresses in servers.items():
        by_server.setdefault(f"{server} ({', '.join(dict.fromkeys(addresses))})", []).append(what)
    for server, told in by_server.items():
        lame = [what for what in told if not what.startswith("says")]
        if lame:
            yield Point(Area.RECORD, Kind.WARNING, "name-server-lame", seen.domain, f"{server} {lame[0]}")
        else:
            message = (
                f"{server} {' and '.join(told)}, and the resolver something else: senders see either; wait for the "
                "TTL, or put the zone transfer right"
            )
            yield Point(Area.RECORD, Kind.WARNING, "servers-differ", seen.domain, message)


def _short(values: Sequence[str]) -> str:
    return ", ".join(repr(value if len(value) <= 60 else f"{value[:57]}…") for value in values[:4])  # noqa: PLR2004
