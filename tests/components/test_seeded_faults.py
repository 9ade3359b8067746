"""Each safeguard of the component, taken out of its own code: simulated senders must show what it is there for.

The same faults as changes, before the proof and the brute-force model: tests/mta_sts/test_safety.py. On the real
engine, before the campaign: tests/sandbox/test_seeded_faults.py. CloudFront itself takes no alias twice
(tests/sandbox/test_world_aws.py); what is left of that is a policy host that moves.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from pulumi_mta_sts import Refused, barriers, dns, domain_records, former_host, judgement

from mta_sts import ledger, mx_life_cycle, render_policy, resolve_domain
from mta_sts.checks.smtp import SmtpCause
from mta_sts.ledger import FETCH_SECONDS
from tests.components.mocked import TARGET, use_aws
from tests.components.small_engine import Cloud, StoppedError, enter, judged
from tests.seeds import never_a_new_id, no_barrier, nothing, same_id_for_same_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta_sts.safety import Tally
    from tests.components.mocked import World

DAY = 86_400
HOUR = 3_600
MAX_AGE = 10 * DAY
HARMS = ("refused", "locked_in", "downgraded", "skipped")


FORMER = "dold.cloudfront.net"


def declared(*hosts: str, **more: Any) -> dict[str, Any]:
    """Return the configuration with these managed MX hosts, in enforce."""
    mx = [{"host": f"{host}.example.com", "preference": 10 * place} for place, host in enumerate(hosts, 1)]
    return {
        "domain": "example.com",
        "mode": "enforce",
        "acknowledge": "seen",
        "manage_mx": True,
        "mx": mx,
        "max_age": MAX_AGE,
        "reports": ["mailto:tls-reports@example.com"],
        "host": {"bucket": "policies", "target": TARGET},
        **more,
    }


def repeatedly(cloud: Cloud, args: dict[str, Any], *waits: float) -> None:
    """Update at once, and again after each of these waits, whether it comes to its end or is refused."""
    for wait in (0, *waits):
        cloud.later(wait)
        with contextlib.suppress(StoppedError, Refused):
            cloud.update(args)


def stopped(cloud: Cloud, args: dict[str, Any], before: str) -> None:
    """Make an update that stops before a record."""
    with pytest.raises(StoppedError):
        cloud.update(args, stop_before=before)


# What is done to a domain that has stood for three months with mx1 alone.


def a_host_is_added(cloud: Cloud) -> None:
    """mx2 comes beside it."""
    repeatedly(cloud, declared("mx1", "mx2"), DAY)


def a_host_is_added_as_the_ttl_is_lowered(cloud: Cloud) -> None:
    """From an hour to a minute, in the same update."""
    repeatedly(cloud, declared("mx1", "mx2", txt_ttl=60, wait_limit=0), 60 + FETCH_SECONDS, 2 * HOUR)


def the_host_is_replaced(cloud: Cloud) -> None:
    """By mx2, in as many updates as that takes."""
    repeatedly(cloud, declared("mx2"), 900, 900, DAY, DAY, 12 * DAY, DAY, DAY)


def the_host_is_replaced_by_one_that_fails(cloud: Cloud) -> None:
    """mx2 speaks no TLS."""
    cloud.mail_hosts["mx2.example.com"] = (SmtpCause.TLS, "no STARTTLS")
    the_host_is_replaced(cloud)


def the_host_is_replaced_after_an_interruption(cloud: Cloud) -> None:
    """For longer than max_age the new policy is served under the old id."""
    stopped(cloud, declared("mx2"), "sts-record")
    cloud.later(MAX_AGE + DAY)
    repeatedly(cloud, declared("mx2"), 900, 900, HOUR, HOUR)


def the_policy_changes(cloud: Cloud) -> None:
    """Another max_age."""
    repeatedly(cloud, declared("mx1", max_age=20 * DAY), DAY)


def a_change_is_rolled_back(cloud: Cloud) -> None:
    """After an interruption between file and id, and one more update."""
    stopped(cloud, declared("mx1", max_age=20 * DAY), "sts-record")
    repeatedly(cloud, declared("mx1", max_age=20 * DAY), HOUR)
    repeatedly(cloud, declared("mx1"), DAY)


def the_host_is_replaced_and_its_policy_lost(cloud: Cloud) -> None:
    """Lost by the bucket, with all that it listed."""
    repeatedly(cloud, declared("mx2"), 900)
    del cloud.objects[0]
    repeatedly(cloud, declared("mx2"), DAY, DAY)


def the_policy_moves_to_another_host(cloud: Cloud) -> None:
    """From a host that serves the same, where its TTL is lowered at the same time; then the policy changes."""
    repeatedly(cloud, declared("mx1", cname_ttl=60), 120)
    repeatedly(cloud, declared("mx1", cname_ttl=60, max_age=20 * DAY), HOUR, HOUR)


def policy_and_host_change_in_one_update(cloud: Cloud) -> None:
    """To a host that serves the new one, while caches lead to the former host with the former one."""
    repeatedly(cloud, declared("mx1", max_age=20 * DAY), HOUR)


def the_edge_is_slow(cloud: Cloud) -> None:
    """For ten minutes it serves what it had."""
    cloud.edge_keeps = 600
    repeatedly(cloud, declared("mx1", max_age=20 * DAY), DAY)


def the_state_is_lost(cloud: Cloud) -> None:
    """Every record stands, and the engine would make it again."""
    cloud.made.clear()
    repeatedly(cloud, declared("mx1"), DAY)


# What breaks a safeguard.


def known_by_the_new_ttl(_: object, live: ledger.LiveId) -> float:
    """Count how long an old id may be seen with the TTL that the new one has."""
    return live.since + live.ttl + FETCH_SECONDS


def held_while_served(versions: Any, live: Any, now: float) -> list[ledger.HeldPolicy]:
    """Count the end of a policy from when its bytes went, as if nobody renewed it by its id."""
    held = ledger.held_policies(versions, live, now)
    written = {version.id: newer.written for newer, version in pairwise(versions)}
    ends = {one.id: written[one.id] + FETCH_SECONDS + HOUR + one.policy.max_age for one in held if one.id in written}
    return [replace(one, until=ends.get(one.id)) for one in held if ends.get(one.id, now + 1) > now]


Patches = list[tuple[Any, str, Any]]


@dataclass(frozen=True)
class Fault:
    """What is taken out, what is done then, and the harm; `past` is what was declared until then."""

    patches: Patches
    done: Callable[[Cloud], None]
    harm: str
    past: dict[str, Any] = field(default_factory=dict)
    mx: tuple[str, ...] = ("mx1",)
    """The MX hosts that are to be there in the end, with every safeguard."""


MOVING = {"host": {"bucket": "policies", "target": FORMER}, "cname_ttl": HOUR}
FAULTS = {
    "an id comes back": Fault([(judgement, "next_id", same_id_for_same_bytes())], a_change_is_rolled_back, "locked_in"),
    "an id stays": Fault([(judgement, "next_id", never_a_new_id)], the_policy_changes, "locked_in"),
    "the new TTL in the place of the old": Fault(
        [(module, "known_from", known_by_the_new_ttl) for module in (judgement, barriers)],
        a_host_is_added_as_the_ttl_is_lowered,
        "skipped",
        {"txt_ttl": HOUR},
        mx=("mx1", "mx2"),
    ),
    "renewing senders are forgotten": Fault(
        [(mx_life_cycle, "held_policies", held_while_served)],
        the_host_is_replaced_after_an_interruption,
        "refused",
        mx=("mx1", "mx2"),
    ),
    "the old address TTL is forgotten": Fault(
        [(judgement.Judged, "host_ttl", lambda self, _: self.config.cname_ttl)],
        the_policy_moves_to_another_host,
        "locked_in",
        MOVING,
    ),
    "policy and host move in one update": Fault(
        [(former_host, "move_findings", lambda _: {}), (domain_records, "edge_serves", no_barrier)],
        policy_and_host_change_in_one_update,
        "locked_in",
        MOVING,
    ),
    "an MX host goes as its replacement comes": Fault(
        [(judgement, "needed_hosts", nothing)], the_host_is_replaced, "refused", mx=("mx2",)
    ),
    "the policy forgets live MX hosts": Fault(
        [(judgement, "retiring_hosts", nothing)], the_host_is_replaced, "skipped", mx=("mx2",)
    ),
    "lost versions count as none": Fault(
        [(mx_life_cycle, "unknown_until", lambda *_: 0.0)],
        the_host_is_replaced_and_its_policy_lost,
        "refused",
        mx=("mx1", "mx2"),
    ),
    "no barrier at the edge": Fault([(domain_records, "edge_serves", no_barrier)], the_edge_is_slow, "locked_in"),
    "no barrier before an MX host": Fault(
        [(domain_records, "policy_is_current", no_barrier), (judgement, "_not_due", lambda *_: (frozenset(), []))],
        a_host_is_added,
        "skipped",
        mx=("mx1", "mx2"),
    ),
    "no barrier before a second record": Fault(
        [(dns, "no_second_record", no_barrier)], the_state_is_lost, "downgraded"
    ),
    "no look at a new MX host": Fault(
        [(judgement, "not_ready", nothing)], the_host_is_replaced_by_one_that_fails, "refused"
    ),
}


@pytest.fixture
def lived(world: World) -> Callable[..., tuple[Tally, list[str]]]:
    """Return what senders meet in a domain of three months to which something is done, and its MX hosts then."""

    def live(fault: Fault, patches: Patches) -> tuple[Tally, list[str]]:
        cloud = Cloud(mail_hosts=world.mail_hosts)
        with pytest.MonkeyPatch.context() as patched:
            use_aws(cloud, patched)
            enter(cloud, patched)
            before = declared("mx1", **fault.past)
            cloud.elsewhere[FORMER] = render_policy(resolve_domain(before).policy).decode()
            cloud.update(before)
            cloud.later(90 * DAY)
            since = cloud.clock
            for place, name, broken in patches:
                patched.setattr(place, name, broken)
            fault.done(cloud)
        hosts = sorted(record["content"].partition(".")[0] for record in cloud.at("example.com", "MX"))
        return judged(cloud, since), hosts

    return live


@pytest.mark.parametrize("name", FAULTS)
def test_a_safeguard_that_is_taken_out_is_missed(lived: Callable[..., tuple[Tally, list[str]]], name: str) -> None:
    """With all of them the change is made and nobody is harmed; without the one, simulated senders are."""
    fault = FAULTS[name]
    whole, hosts = lived(fault, [])
    assert dict.fromkeys(HARMS, 0) == {harm: getattr(whole, harm) for harm in HARMS}, whole.examples
    assert list(fault.mx) == hosts
    seen, _ = lived(fault, fault.patches)
    assert getattr(seen, fault.harm) > 0, seen


def test_a_clock_that_is_ahead_is_missed_too(lived: Callable[..., tuple[Tally, list[str]]]) -> None:
    """Waits counted with it are too short, where nobody notices (AWS takes no signature that is off by minutes)."""

    def done(cloud: Cloud, drift: float) -> None:
        cloud.drift = drift
        repeatedly(cloud, declared("mx1", "mx2", wait_limit=0), 60, HOUR)

    assert 0 == lived(Fault([], lambda cloud: done(cloud, 0), ""), [])[0].skipped
    assert lived(Fault([], lambda cloud: done(cloud, HOUR), ""), [])[0].skipped > 0


def test_a_clock_that_is_behind_stops_every_update(lived: Callable[..., tuple[Tally, list[str]]]) -> None:
    """The clouds' dates are in its future."""

    def done(cloud: Cloud) -> None:
        cloud.later(-100 * DAY)
        cloud.update(declared("mx1", "mx2"))

    with pytest.raises(Refused, match="clock-behind"):
        lived(Fault([], done, ""), [])
