"""`history`: which policies senders may hold from before a domain came here, as its configuration states it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mta_sts.findings import Finding, MtaStsError, below, unknown_keys
from mta_sts.ledger import ID_METADATA, PolicyVersion
from mta_sts.policy import Policy, parse_policy

_REQUIRED = ("id", "mode", "mx", "max_age", "seen", "source")
_KEYS = (*_REQUIRED, "until")
_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")


def check_history(given: Any) -> list[Finding]:
    """Return what is wrong with the `history` of a domain's configuration."""
    if given is None:
        return []
    if isinstance(given, str) or not isinstance(given, Sequence):
        message = "give a list, newest first, as `mta-sts adopt` prints it"
        return [Finding("history-invalid", "history", message)]
    return [found for index, entry in enumerate(given) for found in _check(entry, f"history[{index}]")]


def history_versions(given: Sequence[Mapping[str, Any]]) -> tuple[PolicyVersion, ...]:
    """Return what a checked `history` states in the form of the ledger, newest first."""
    return tuple(
        PolicyVersion(
            version_id="",
            metadata={ID_METADATA: _plain(entry["id"])},
            written=_moment(entry["seen"]).timestamp(),
            body=_body(entry),
            ends=None if entry.get("until") is None else _moment(entry["until"]).timestamp(),
        )
        for entry in given
    )


def history_entry(identifier: str, policy: Policy, seen: datetime, source: str) -> dict[str, Any]:
    """Return the entry for a policy that was seen live under an id."""
    return {
        "id": identifier,
        "mode": str(policy.mode),
        "mx": list(policy.mx),
        "max_age": policy.max_age,
        "seen": seen.isoformat(),
        "source": source,
    }


def _check(entry: Any, path: str) -> list[Finding]:
    if not isinstance(entry, Mapping):
        return [Finding("history-invalid", path, f"give a policy with {', '.join(_REQUIRED)}")]
    findings = below(path, unknown_keys(entry, _KEYS, "a past policy"))
    missing = [key for key in _REQUIRED if entry.get(key) is None]
    if missing:
        message = f"{', '.join(missing)} of the policy missing; `mta-sts adopt` prints all that can be seen"
        return [*findings, Finding("history-invalid", path, message)]
    if not _ID.match(_plain(entry["id"])):
        message = f"got {entry['id']!r}; give the id that `_mta-sts` showed with it: 1 to 32 letters and digits"
        findings.append(Finding("history-invalid", f"{path}.id", message))
    for key in ("seen", "until"):
        if entry.get(key) is not None and not _is_moment(entry[key]):
            message = f"got {entry[key]!r}; give date, time and zone, such as 2026-11-24T12:00:00+00:00"
            findings.append(Finding("history-invalid", f"{path}.{key}", message))
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        findings.append(Finding("history-invalid", f"{path}.source", "say in words where the policy was seen"))
    try:
        parse_policy(_body(entry))
    except (MtaStsError, TypeError) as error:
        reasons = error.findings[0].message if isinstance(error, MtaStsError) else "mx is a list of patterns"
        findings.append(Finding("history-invalid", path, f"states no policy: {reasons}"))
    return findings


def _body(entry: Mapping[str, Any]) -> str:
    """Return the policy as a file; it was served by others, so it need not be one that we would publish."""
    if isinstance(entry["mx"], str):
        raise TypeError(entry["mx"])
    patterns = [f"mx: {pattern}" for pattern in entry["mx"]]
    return "\n".join(
        ["version: STSv1", f"mode: {entry['mode']}", *patterns, f"max_age: {_plain(entry['max_age'])}", ""]
    )


def _plain(value: Any) -> str:
    """Return a value as text; other languages send whole numbers as 3.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _is_moment(text: Any) -> bool:
    try:
        _moment(text)
    except ValueError:
        return False
    return True
