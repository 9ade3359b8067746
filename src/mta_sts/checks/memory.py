"""What senders may hold from before: from an earlier run, from the stack's `history`, from the policy bucket."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.checks.observe import mx_hosts
from mta_sts.checks.report import Area, Kind, Point
from mta_sts.history import check_history, history_entry
from mta_sts.ledger import FETCH_SECONDS, ID_METADATA, LiveId, PolicyVersion, held_policies
from mta_sts.matching import mx_matches
from mta_sts.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mta_sts.checks.observe import Seen


class LastRun(NamedTuple):
    """What an earlier run knew, by domain: the `history`, and when all MX hosts were last looked at."""

    histories: dict[str, list[dict[str, Any]]]
    smtp_seen: dict[str, datetime]


def load_run(file: Path) -> LastRun:
    """Return what the JSON of an earlier run holds; raises ValueError or OSError."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        found = {each["domain"]: each["history"] for each in document["domains"]}
        seen = {
            each["domain"]: datetime.fromisoformat(each["smtp_seen"]).astimezone(UTC)
            for each in document["domains"]
            if each.get("smtp_seen")
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: no JSON of an earlier `mta-sts check --json` ({error})") from None
    for domain, history in found.items():
        wrong = check_history(history)
        if wrong:
            raise ValueError(f"{file}: {domain}: {wrong[0]}")
    return LastRun(found, seen)


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


def judge_memory(seen: Seen, versions: Sequence[PolicyVersion], identifier: str, now: datetime) -> Iterator[Point]:
    """Judge what only memory can see: a body changed under its id, and senders that older policies lead astray."""
    if seen.served is None or not identifier:
        return
    policy = seen.served.policy
    under_this_id = [one for one in versions if one.metadata.get(ID_METADATA) == identifier]
    others = [one for one in under_this_id if one.policy is not None and one.policy != policy]
    if others:
        was = others[0].policy
        message = (
            f"the policy has changed ({_difference(was, policy)}) and the id {identifier} has not, so senders that "
            "hold the old one never fetch the new; publish a new id: "
            f'`_mta-sts.{seen.domain} TXT "v=STSv1; id={now:%Y%m%dT%H%M%S};"`'
        )
        yield Point(Area.POLICY, Kind.ERROR, "body-changed-under-id", f"https://mta-sts.{seen.domain}", message)
    if seen.mx is None or seen.mx.failure:
        return
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
