"""What senders may hold from before: from an earlier run, from the stack's `history`, from the policy bucket."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.checks.observe import mx_hosts
from mta_sts.checks.records import fresh_id
from mta_sts.checks.report import Area, Kind, LookedHost, Point
from mta_sts.history import check_history, history_entry
from mta_sts.identifier import content_id
from mta_sts.ledger import FETCH_SECONDS, LiveId, PolicyVersion, held_policies
from mta_sts.matching import mx_matches
from mta_sts.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mta_sts.checks.observe import Seen
    from mta_sts.policy import Policy


SMTP_DUE = timedelta(hours=48)
"""How long it may be that nobody has looked at the MX hosts of a domain."""

_CLOCKS_DIFFER = timedelta(hours=1)
_NEVER = datetime.fromtimestamp(0, UTC)


class LastRun(NamedTuple):
    """What an earlier run knew, by domain: the `history`, and what was seen of each MX host."""

    histories: dict[str, list[dict[str, Any]]]
    smtp: dict[str, dict[str, LookedHost]]


def load_run(file: Path) -> LastRun:
    """Return what the JSON of an earlier run holds; raises ValueError or OSError."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        found = {each["domain"]: each["history"] for each in document["domains"]}
        smtp = {each["domain"]: dict(map(_looked_host, each.get("smtp", ()))) for each in document["domains"]}
        if not all(isinstance(history, list) for history in found.values()):
            raise TypeError("a history is no list")  # noqa: TRY301  said once, below
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: no JSON of an earlier `mta-sts check --json` ({error})") from None
    for domain, history in found.items():
        wrong = check_history(history)
        if wrong:
            raise ValueError(f"{file}: {domain}: {wrong[0]}")
    return LastRun(found, smtp)


def _looked_host(given: Any) -> tuple[str, LookedHost]:
    seen = datetime.fromisoformat(given["seen"]).astimezone(UTC) if given["seen"] else None
    points = [
        Point(Area(one["area"]), Kind(one["kind"]), *(str(one[key]) for key in ("rule", "path", "message")))
        for one in given["points"]
    ]
    return str(given["host"]), LookedHost(seen, tuple(points))


def next_smtp(
    before: Mapping[str, LookedHost], seen: Seen, found: Mapping[str, LookedHost | None]
) -> dict[str, LookedHost]:
    """Return what is known of each MX host: what was found now, else what an earlier run handed over.

    `found` has None for a host that could not be looked at. What is known of hosts that are no MX hosts any more goes;
    where the MX records can't be looked up, everything stays.
    """
    if seen.mail_hosts is None and (seen.mx is None or seen.mx.failure):
        return dict(before)
    known: dict[str, LookedHost] = {}
    for name in [host.name for host in seen.mail_hosts or ()]:
        now, earlier = found.get(name), before.get(name)
        if now is None and earlier is not None:
            known[name] = earlier
        elif now is not None:
            # A host that is down shows no certificate: when one was last seen still counts.
            known[name] = replace(now, seen=now.seen or (earlier.seen if earlier else None))
    return known


def judge_smtp_memory(
    before: Mapping[str, LookedHost], seen: Seen, found: Mapping[str, LookedHost | None], now: datetime
) -> Iterator[Point]:
    """Judge the MX hosts that this run could not look at by what an earlier run handed over."""
    if seen.mail_hosts is None:
        hosts = list(before) if seen.mx is None or seen.mx.failure else []
    else:
        hosts = [name for name, one in found.items() if one is None]
    # A clock that is ahead must not keep a look young for ever.
    before = {
        name: replace(one, seen=None) if one.seen and one.seen > now + _CLOCKS_DIFFER else one
        for name, one in before.items()
    }
    for name in hosts:
        for point in before[name].points if name in before else ():
            yield replace(point, message=f"{point.message} (found by an earlier run)")
    if not hosts:
        return
    oldest = min((before[name].seen or _NEVER for name in hosts if name in before), default=_NEVER)
    oldest = oldest if all(name in before for name in hosts) else _NEVER
    if now - oldest <= SMTP_DUE:
        message = (
            f"STARTTLS and certificates of MX hosts were looked at on {oldest:%Y-%m-%d %H:%M} UTC, not in this run"
        )
        yield Point(Area.SMTP, Kind.NOTE, "smtp-seen-before", "", message)
        return
    due = [name for name in hosts if now - ((before[name].seen if name in before else None) or _NEVER) > SMTP_DUE]
    when = "in any run that is known here" if oldest == _NEVER else f"since {oldest:%Y-%m-%d %H:%M} UTC"
    message = (
        f"STARTTLS and certificates of {', '.join(due)} were NOT looked at {when}, and are to be every "
        f"{SMTP_DUE // timedelta(hours=1)} hours; see that the runner that may use port 25 hands its JSON over"
    )
    yield Point(Area.SMTP, Kind.SKIPPED, "smtp-not-seen-lately", "", message)


def next_history(
    before: Sequence[Mapping[str, Any]], seen: Seen, identifier: str, now: datetime
) -> list[dict[str, Any]]:
    """Return what the next run must know: what is served now, and what senders may still hold from before."""
    entries = [dict(entry) for entry in before]
    if seen.served is None or not identifier:
        return entries
    ttl = seen.sts.ttl if seen.sts else 0
    current = history_entry(identifier, seen.served.policy, now, f"https://mta-sts.{seen.domain}")
    kept: list[dict[str, Any]] = []
    for entry in entries:
        if _same(entry, current):
            continue
        # Its id was visible until just now at the latest, for all that we know.
        gone = now + timedelta(seconds=ttl + FETCH_SECONDS + int(entry["max_age"]))
        entry.setdefault("until", gone.isoformat())
        if datetime.fromisoformat(entry["until"]) > now:
            kept.append(entry)
    return [current, *kept]


def policy_of(versions: Sequence[PolicyVersion], identifier: str) -> Policy | None:
    """Return the policy that an id was last known for, None where nobody knows it."""
    found = [one for one in versions if one.id == identifier and one.policy is not None]
    own = [one for one in found if _published(one)]
    return next((one.policy for one in own or found), None)


def last_published(versions: Sequence[PolicyVersion]) -> Policy | None:
    """Return the policy that was last published with an id of its own."""
    return next((one.policy for one in versions if _published(one)), None)


def _published(version: PolicyVersion) -> bool:
    """Whether a version was put there by the stack; one by hand has the id of another, or none."""
    return version.body is not None and version.id.startswith(content_id(version.body))


def judge_body(
    seen: Seen, versions: Sequence[PolicyVersion], identifier: str, now: datetime, *, declared: bool = False
) -> Iterator[Point]:
    """Judge whether the policy that is served was known under its id: else it changed, or is a former one."""
    if seen.served is None or not identifier:
        return
    policy = seen.served.policy
    known = [one.policy for one in versions if one.id == identifier and one.policy is not None]
    was = next((one for one in known if one != policy), None)
    if was is None:
        return
    url = f"https://mta-sts.{seen.domain}"
    new_id = f'publish a new id: `_mta-sts.{seen.domain} TXT "v=STSv1; id={fresh_id(now)};"`'
    if declared:
        new_id = "change the domain's `epoch`, which gives a new id"
    former = next((one.id for one in versions if one.policy == policy), "")
    if policy not in known and former:
        message = (
            f"the policy of id {former} is served under id {identifier}, so an edge or a cache gives the former file; "
            f"empty it, then, because who came meanwhile holds that file under this id, {new_id}"
        )
        yield Point(Area.POLICY, Kind.ERROR, "former-policy-served", url, message)
        return
    message = (
        f"the policy has changed ({_difference(was, policy)}) and the id {identifier} has not, so senders that "
        f"hold the old one never fetch the new; {new_id}"
    )
    yield Point(Area.POLICY, Kind.ERROR, "body-changed-under-id", url, message)


def judge_held(seen: Seen, versions: Sequence[PolicyVersion], identifier: str, now: datetime) -> Iterator[Point]:
    """Judge whether senders that hold an older policy still find an MX host that it lists."""
    if seen.served is None or not identifier or seen.mx is None or seen.mx.failure:
        return
    policy = seen.served.policy
    live = LiveId(identifier, now.timestamp(), seen.sts.ttl if seen.sts else 0)
    hosts = mx_hosts(seen.mx)
    for held in held_policies(versions, live, now.timestamp()):
        if held.id == identifier or held.policy.mode is not Mode.ENFORCE or held.policy == policy:
            continue
        allowed = [host for host in hosts if any(mx_matches(pattern, host) for pattern in held.policy.mx)]
        if not allowed:
            until = (
                "any time"
                if held.until is None
                else f"{datetime.fromtimestamp(held.until, now.tzinfo):%Y-%m-%d %H:%M} UTC"
            )
            message = (
                f"senders may hold the policy of id {held.id} until {until}, and no live MX host matches it "
                f"({', '.join(held.policy.mx[:6])}): they refuse to deliver; put one of those hosts "
                "back into the MX records"
            )
            yield Point(Area.MX, Kind.ERROR, "held-policy-without-mx", seen.domain, message)


def _same(entry: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    return all(entry[key] == current[key] for key in ("id", "mode", "mx", "max_age"))


def _difference(was: Any, now: Any) -> str:
    parts = [
        f"{name} was {getattr(was, name)}" for name in ("mode", "max_age") if getattr(was, name) != getattr(now, name)
    ]
    if set(was.mx) != set(now.mx):
        parts.append(f"mx was {', '.join(was.mx[:6])}")
    return "; ".join(parts) or "its mx lines have another order"
