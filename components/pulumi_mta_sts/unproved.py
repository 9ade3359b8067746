"""Why nothing can be proved of a change: what was served so far is lost, can't be read, or contradicts itself."""

from collections.abc import Sequence
from itertools import pairwise

import pulumi

from mta_sts import Finding, Severity
from mta_sts.domain_config import DomainConfig
from mta_sts.ledger import LiveId, PolicyVersion
from pulumi_mta_sts import dns

CLOCK_TOLERANCE = 300.0


def was_replaced(newest: PolicyVersion | None, served: Sequence[PolicyVersion], live_id: LiveId | None) -> bool:
    """Whether other policies, now lost, came between the newest version and the live id: its own id must not return.

    The live id is else that of a version, or the one that was live when the newest was planned: an update stopped
    between the object and the record.
    """
    if newest is None or live_id is None or live_id.id in {version.id for version in served}:
        return False
    return newest.noted is None or newest.noted.id != live_id.id


def is_lost(record: dns.LiveRecord | None, live_id: LiveId | None, versions: Sequence[PolicyVersion]) -> bool:
    """Whether a record of ours shows an id that no version has and no `history` states."""
    if record is None or not record.ours:
        return False
    return live_id.id not in {version.id for version in versions} if live_id else not versions


def history_lost(
    config: DomainConfig, record: dns.LiveRecord | None, versions: Sequence[PolicyVersion]
) -> list[Finding]:
    """Return the finding about a record of ours whose policy is not in the bucket (RFC 8461 §8.1 can't be kept)."""
    holds = f"no policy of {config.domain}" + (" under that id" if versions else "")
    message = (
        f"{record} was made here, but the policy host's bucket holds {holds}: what senders hold is unknown (another "
        "bucket, one that has lost versions, or an id changed by hand). Give the bucket that served it; or, to go on "
        f"with this one, run `mta-sts adopt {config.domain}`, put in the `history` that it prints, and, if the host "
        "moves, leave the policy as it is until the name has moved (docs/runbook.md)"
    )
    severity = Severity.ERROR if config.mode == "enforce" else Severity.WARNING
    return [Finding("history-lost", "host", message, severity)]


def zone_unread(config: DomainConfig, zone_id: pulumi.Input[str], served: Sequence[PolicyVersion]) -> list[Finding]:
    """Return the finding about a published domain whose records can't be read; the brake needs none of them."""
    policy = served[0].policy if served else None
    braking = policy is not None and policy.mode == "enforce" and config.mode != "enforce"
    if not isinstance(zone_id, pulumi.Output) or not served or braking:
        return []
    message = (
        f"zone_id is an output, so the records of {config.domain} can't be read before the change, and senders may "
        "hold a policy that relies on them; give `zone` by name, or `zone_id` as plain text"
    )
    return [Finding("zone-unread", "zone_id", message)]


def out_of_order(config: DomainConfig, served: Sequence[PolicyVersion]) -> list[Finding]:
    """Return the finding about versions whose dates contradict each other: ends counted with them would be wrong.

    A version is written after the one that it replaces, and after it was planned; what it notes of the record is no
    older than what the version before it noted.
    """
    written = pairwise(served)
    wrong = [newer for newer, older in written if newer.written < older.written - CLOCK_TOLERANCE]
    noting = [(version, version.noted.since) for version in served if version.noted is not None]
    wrong += [version for version, since in noting if since > version.written + CLOCK_TOLERANCE]
    wrong += [newer for (newer, since), (_, before) in pairwise(noting) if since < before - CLOCK_TOLERANCE]
    if not wrong:
        return []
    names = ", ".join(dict.fromkeys(f"{version.version_id} (id {version.id or 'none'})" for version in wrong))
    message = (
        f"the policy versions of {config.domain} are out of order, see {names}: a clock was wrong, or somebody else "
        "wrote to the bucket, so it can't be told until when senders hold what. Look who it was; then delete the wrong "
        "versions (`aws s3api delete-object --version-id`) and state in `history` what was served under their ids"
    )
    return [Finding("ledger-out-of-order", "host", message)]
