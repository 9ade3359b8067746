"""Judge the records: `_mta-sts`, `_smtp._tls`, where they stand, and whether everybody gives the same answer."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from mta_sts.checks.drift import UP
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
    stated_records,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from mta_sts.checks.lookup import Reach, Said
    from mta_sts.checks.observe import Seen

_LONG_TTL = 86_400
_STS_LIKE = re.compile(r"\s*v\s*=\s*[\"']?STS", re.IGNORECASE)
_TLSRPT_LIKE = re.compile(r"\s*v\s*=\s*[\"']?TLS-?RPT", re.IGNORECASE)


FAILURES = {
    Failure.TIMEOUT: (
        Kind.SKIPPED,
        "dns-timeout",
        "no answer came for {kind}, so nothing is known; run again, or ask another --resolver",
    ),
    Failure.REFUSED: (
        Kind.SKIPPED,
        "resolver-refuses",
        (
            "the resolver refuses to answer us for {kind} (REFUSED), so nothing is known; ask one that serves this "
            "machine: --resolver ADDRESS"
        ),
    ),
    Failure.CNAME_LOOP: (
        Kind.ERROR,
        "cname-loop",
        "CNAME records lead in a circle ({chain}); let `{name} CNAME` name the host that is meant",
    ),
    Failure.CNAME_CHAIN: (
        Kind.ERROR,
        "cname-chain-long",
        "{hops} CNAME records lead to {end}, more than resolvers follow; let `{name} CNAME {end}` name the end itself",
    ),
    Failure.LAME: (
        Kind.ERROR,
        "dns-lame",
        (
            "{kind} can't be looked up, because the zone is delegated to servers that do not serve it ({said}); let "
            "them, or let the parent zone name those that do: compare `dig NS` there and at the servers"
        ),
    ),
    Failure.BOGUS: (
        Kind.ERROR,
        "dns-bogus",
        (
            "{kind} does not pass DNSSEC, so senders whose resolvers validate see a failure, not a record; compare the "
            "DS record at the parent zone with the keys and signatures of this one: `delv {kind} {name}`"
        ),
    ),
    Failure.SERVFAIL: (
        Kind.ERROR,
        "dns-servfail",
        (
            "{kind} can't be looked up{place} (SERVFAIL): senders see a failure, not a record; see what "
            "`dig +trace {kind} {name}` says"
        ),
    ),
}
"""How each failed look-up is told: kind, rule, and the sentence."""


def lookup_failures(area: Area, looked: Looked) -> Iterator[Point]:
    """Say why a name, or one address family of it, can't be looked up; nothing where it can."""
    failed = looked if looked.failure else looked.broken
    if failed is None or failed.failure is None:
        return
    kind, rule, message = FAILURES[failed.failure]
    chain = " → ".join((failed.name, *failed.cnames))
    place = f" at the end of {chain}" if failed.cnames else ""
    end = failed.cnames[-1] if failed.cnames else failed.name
    told = message.format(
        name=failed.name, kind=failed.kind, chain=chain, place=place, hops=len(failed.cnames), end=end, said=failed.said
    )
    yield Point(area, kind, rule, failed.name, told)


def zone_failure(seen: Seen) -> Point | None:
    """Return the one failure of all names of a domain, None where any of them can be looked up."""
    failures = {one.failure if one else None for one in (seen.mx, seen.sts, seen.tlsrpt, seen.host)}
    same = len(failures) == 1 and None not in failures
    return next(lookup_failures(Area.RECORD, seen.mx), None) if same and seen.mx else None


def from_wildcard(seen: Seen) -> bool:
    """Whether the policy host has only what every name below the domain has: one CNAME, else the same addresses."""
    wild, host = seen.wildcard_host, seen.host
    if wild is None or host is None or not wild.values:
        return False
    return wild.cnames[:1] == host.cnames[:1] and (bool(host.cnames) or set(wild.values) == set(host.values))


def judge_record(seen: Seen, now: datetime, *, declared: bool = False) -> Iterator[Point]:
    """Judge `_mta-sts` (RFC 8461 §3.1); what a stack declares is put right by the stack."""
    looked = seen.sts
    if looked is None:
        return
    if looked.failure:
        yield from lookup_failures(Area.RECORD, looked)
        return
    publish = f'publish `{looked.name} TXT "{STS_PREFIX} id={fresh_id(now)};"`'
    yield from _texts(Area.RECORD, looked, seen, UP if declared else publish)
    stated = stated_records(looked.values, STS_PREFIX)
    if len(stated) == 1:
        try:
            select_sts_record(stated)
        except MtaStsError as error:
            yield from (Point.of(Area.RECORD, found, looked.name) for found in error.findings)
        yield from _tags(Area.RECORD, looked.name, stated[0], ("v", "id"))
    if looked.values and looked.ttl > _LONG_TTL:
        message = f"the TTL is {looked.ttl} s, so a change stays unseen for that long; set it to 300"
        yield Point(Area.RECORD, Kind.WARNING, "ttl-long", looked.name, message)


def judge_reports(seen: Seen, *, declared: bool = False) -> Iterator[Point]:
    """Judge `_smtp._tls` (RFC 8460 §3); what a stack declares is put right by the stack."""
    looked = seen.tlsrpt
    if looked is None:
        return
    if looked.failure:
        yield from lookup_failures(Area.REPORTS, looked)
        return
    publish = f'publish `{looked.name} TXT "{TLSRPT_PREFIX} rua=mailto:tls-reports@{seen.domain}"`'
    yield from _texts(Area.REPORTS, looked, seen, UP if declared else publish)
    stated = stated_records(looked.values, TLSRPT_PREFIX)
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


def fresh_id(now: datetime) -> str:
    """Return an id that was never used: a moment, as RFC 8461 §3.1 shows."""
    return f"{now:%Y%m%dT%H%M%S}"


def _texts(area: Area, looked: Looked, seen: Seen, mend: str) -> Iterator[Point]:
    """Judge which TXT values stand at a name, whatever the one that counts states; `mend` says how it comes there."""
    name = looked.name
    sts = area is Area.RECORD
    prefix, like = (STS_PREFIX, _STS_LIKE) if sts else (TLSRPT_PREFIX, _TLSRPT_LIKE)
    severity = Kind.ERROR if sts else Kind.WARNING
    stated = stated_records(looked.values, prefix)
    others = [value for value in looked.values if value not in stated]
    misspelt = next((value for value in others if like.match(value)), None)
    wild = seen.wildcard.values if seen.wildcard else ()
    astray = [value for value in (seen.apex.values if seen.apex else ()) if like.match(value)]
    if not stated and others and set(others) <= set(wild):
        message = (
            f"a wildcard TXT (`*.{seen.domain}`) answers here with {_short(others)}, and the record itself is missing; "
            f"{mend}"
        )
        yield Point(area, severity, "wildcard-txt", name, message)
    elif not stated and misspelt is not None:
        message = f"{_short([misspelt])} does not begin with `{prefix}`, so senders see no record; {mend}"
        yield Point(area, Kind.ERROR, "version-spelling", name, message)
    elif not stated and astray:
        message = f"the record stands at {seen.domain} itself, where no sender looks; take it away, and {mend}"
        yield Point(area, severity, "record-at-apex", name, message)
    elif not stated and (sts or seen.mode is not Mode.NONE or others):
        yield _missing(area, looked, seen, mend, others)
    elif stated:
        yield from _crowd(area, name, stated, others, prefix)
        if set(stated) <= set(wild):
            message = (
                f"the record comes from a wildcard (`*.{seen.domain}`), so every name below seems to have one; put it "
                f'at its own name, `{name} TXT "{stated[0]}"`, and take the wildcard back'
            )
            yield Point(area, Kind.WARNING, "wildcard-txt", name, message)
        if astray:
            message = f"{_short(astray)} stands at {seen.domain} itself too, where it does nothing; delete it there"
            yield Point(area, Kind.WARNING, "record-at-apex", seen.domain, message)


def _missing(area: Area, looked: Looked, seen: Seen, mend: str, others: Sequence[str]) -> Point:
    severity = Kind.ERROR if area is Area.RECORD else Kind.WARNING
    if looked.cnames:
        message = (
            f"leads to {looked.cnames[-1]}, where no record stands; ask its provider, or in the place of the CNAME "
            f"{mend}"
        )
        return Point(area, severity, "cname-leads-nowhere", looked.name, message)
    found = f"only {_short(others)} stands there" if others else "there is no record"
    if area is Area.REPORTS:
        message = f"{found}: failures stay unseen (RFC 8460); {mend}"
        return Point(area, severity, "tlsrpt-record-missing", looked.name, message)
    nothing = seen.host is not None and not seen.host.values and not seen.host.failure
    if (nothing or from_wildcard(seen)) and not others:
        first = "" if mend == UP else f"serve a policy at https://mta-sts.{seen.domain}, then "
        message = f"the domain publishes no MTA-STS; {first}{mend}"
        return Point(area, severity, "no-mta-sts", looked.name, message)
    message = f"{found}, so senders see no policy (those that hold one go on with it); {mend}"
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


def judge_agreement(seen: Seen, reach: Reach) -> Iterator[Point]:
    """Judge whether every name server and resolver says what the resolver said; one point a server."""
    looked = {one.name: one for one in (seen.sts, seen.mx, seen.tlsrpt, seen.host) if one and not one.failure}
    said = [one for one in seen.said if not (one.unreached and reach.no_route(one.address))]
    reached = any(not one.problem for one in said)  # else our own network may be to blame
    servers: dict[tuple[str, str], list[str]] = {}
    for one in said:
        asked = looked.get(one.name)
        if asked is None:
            continue  # that it can't be looked up is said already
        if one.problem and reached:
            what = f"{one.problem}, so some look-ups fail or are late; let it serve the zone, or take it out of it"
            servers.setdefault((one.server, what), []).append(one.address)
        elif not one.problem and _differs(one, asked):
            shown = f"CNAME {one.cname}" if one.cname else _short(one.values or ())
            what = f"says {shown or 'nothing'} for {one.name} {one.kind}"
            servers.setdefault((one.server, what), []).append(one.address)
    by_server: dict[str, list[str]] = {}
    for (server, what), addresses in servers.items():
        at = f" ({', '.join(dict.fromkeys(addresses))})" if any(addresses) else ""
        by_server.setdefault(f"{server}{at}", []).append(what)
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


def _differs(said: Said, looked: Looked) -> bool:
    """Whether a server says something else: at a CNAME, which host it names; addresses may vary by who asks."""
    if said.own and (said.cname or (looked.cnames and said.values is not None)):
        return (said.cname,) != looked.cnames[:1]
    if said.values is None:
        return False
    if said.kind == "A":
        return bool(said.values) is not any("." in value for value in looked.values)
    return set(said.values) != set(looked.values)


def _short(values: Sequence[str]) -> str:
    return ", ".join(repr(value if len(value) <= 60 else f"{value[:57]}…") for value in values[:4])  # noqa: PLR2004
