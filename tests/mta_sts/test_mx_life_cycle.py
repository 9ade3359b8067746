"""MX hosts that come and go: what stays in the policy, what stays in DNS, and until when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta_sts import Mode, Policy, mx_matches, render_policy
from mta_sts.ledger import (
    FETCH_SECONDS,
    ID_METADATA,
    LIVE_METADATA,
    LONGEST_MAX_AGE,
    LiveId,
    PolicyVersion,
    held_policies,
)
from mta_sts.mx_life_cycle import LiveMx, absent_patterns, needed_hosts, retiring_hosts

DAY = 86_400
TTL = 300


def version(number: int, *hosts: str, mode: Mode = Mode.ENFORCE, noted: LiveId | None = None) -> PolicyVersion:
    """Return a policy version with max_age ten days and the id `id<number>`."""
    body = render_policy(Policy("STSv1", mode, hosts, 10 * DAY)).decode()
    metadata = {ID_METADATA: f"id{number}"} | ({LIVE_METADATA: str(noted)} if noted else {})
    return PolicyVersion(f"v{number}", metadata, number, body)


OLD = version(1, "mx1.example.com")
BOTH = version(2, "mx1.example.com", "mx3.example.com", noted=LiveId("id1", 0, TTL))
LIVE_BOTH = [LiveMx("mx1.example.com", 0, TTL), LiveMx("mx3.example.com", 5 * DAY, TTL)]
CURRENT = LiveId("id2", 5 * DAY, TTL)


def test_a_live_host_that_the_served_policy_lists_stays_in_the_policy() -> None:
    """It retires: no longer declared, still in DNS. One that nobody ever declared does not get in."""
    live = [*LIVE_BOTH, LiveMx("intruder.example.net", 0, TTL)]
    assert ["mx1.example.com"] == retiring_hosts(["mx3.example.com"], live, OLD)
    assert [] == retiring_hosts(["mx3.example.com"], live, None)
    assert [] == retiring_hosts(["*.example.com"], live, OLD)


def test_a_host_stays_until_what_replaces_it_is_live_and_known() -> None:
    """Before the new host is in DNS, or while the id or the MX record may still be cached, the old one is needed."""
    declared = ["mx3.example.com"]
    not_live = needed_hosts(declared, LIVE_BOTH[:1], [OLD], LiveId("id1", 0, TTL), now=DAY)
    assert [("mx1.example.com", None)] == [(one.host, one.until) for one in not_live]
    not_published = needed_hosts(declared, LIVE_BOTH, [BOTH, OLD], LiveId("id1", 0, TTL), now=6 * DAY)
    assert [None] == [one.until for one in not_published]
    settled = 5 * DAY + TTL + FETCH_SECONDS
    (waiting,) = needed_hosts(declared, LIVE_BOTH, [BOTH, OLD], CURRENT, now=5 * DAY + 10)
    # Two reasons, each with its date, and the last one counts: the old policy may be held for longer.
    assert [settled, settled + 10 * DAY] == [until for _, until in waiting.reasons]
    assert settled + 10 * DAY == waiting.until


def test_a_host_stays_while_a_policy_that_lists_only_it_may_be_held() -> None:
    """Until the old policy has ended everywhere; then it may go."""
    declared = ["mx3.example.com"]
    end = 5 * DAY + TTL + FETCH_SECONDS + 10 * DAY
    (needed,) = needed_hosts(declared, LIVE_BOTH, [BOTH, OLD], CURRENT, now=6 * DAY)
    assert end == needed.until
    assert [] == needed_hosts(declared, LIVE_BOTH, [BOTH, OLD], CURRENT, now=end + 1)


def test_a_host_beside_which_another_was_always_listed_may_go_at_once() -> None:
    """Every held policy lists a declared host too, so nobody is left without one."""
    both = version(1, "mx1.example.com", "mx3.example.com")
    live = [LiveMx("mx1.example.com", 0, TTL), LiveMx("mx3.example.com", 0, TTL)]
    assert [] == needed_hosts(["mx3.example.com"], live, [both], LiveId("id1", 0, TTL), now=DAY)


def test_a_host_stays_while_those_listed_beside_it_do_not_work() -> None:
    """One that works is enough; a host of another policy is none."""
    all_of_them = version(1, "mx1.example.com", "mx2.example.com", "mx3.example.com")
    names = ["mx2.example.com", "mx3.example.com"]
    live = [LiveMx(host, 0, TTL) for host in ("mx1.example.com", *names)]
    broken = {"mx2.example.com": "expired", "mx3.example.com": "no STARTTLS"}
    held = LiveId("id1", 0, TTL)
    (needed,) = needed_hosts(names, live, [all_of_them], held, DAY, broken=broken)
    assert None is needed.until
    assert "none was seen working (expired; no STARTTLS)" in str(needed)
    assert [] == needed_hosts(names, live, [all_of_them], held, DAY, broken={"mx2.example.com": "expired"})


def test_what_neither_declaration_nor_dns_keeps_is_to_leave_the_policy() -> None:
    """A host that is declared by a wildcard stays listed; a wildcard that is no longer declared may match more."""
    served = version(1, "mx1.example.com", "mx2.example.com", "*.example.net")
    assert ["*.example.net", "mx1.example.com"] == absent_patterns(["mx2.example.com"], [], served)
    assert ["*.example.net"] == absent_patterns(["mx2.example.com"], ["mx1.example.com"], served)
    assert [] == absent_patterns(["*.example.com", "*.example.net"], [], served)
    assert [] == absent_patterns(["mx2.example.com"], [], None)


def test_a_testing_policy_holds_nothing_back() -> None:
    """Senders in testing deliver anyway, so only the settling of the new host is waited for."""
    old = version(1, "mx1.example.com", mode=Mode.TESTING)
    both = version(2, "mx1.example.com", "mx3.example.com", mode=Mode.TESTING, noted=LiveId("id1", 0, TTL))
    assert [] == needed_hosts(["mx3.example.com"], LIVE_BOTH, [both, old], CURRENT, now=6 * DAY)


def test_a_host_stays_while_a_policy_that_nobody_knows_may_be_held() -> None:
    """It may list that host alone; a `history` that states it says what it lists."""
    declared = ["mx3.example.com"]
    both = version(2, "mx1.example.com", "mx3.example.com", noted=LiveId("foreign", 0, TTL))
    (needed,) = needed_hosts(declared, LIVE_BOTH, [both], CURRENT, now=100 * DAY)
    assert ("mx1.example.com", 5 * DAY + TTL + FETCH_SECONDS + LONGEST_MAX_AGE) == (needed.host, needed.until)
    assert "`history`" in str(needed)
    stated = PolicyVersion("", {ID_METADATA: "foreign"}, body=both.body)
    assert [] == needed_hosts(declared, LIVE_BOTH, [both, stated], CURRENT, now=6 * DAY)


hosts = st.sampled_from([f"mx{number}.example.com" for number in range(4)])


@given(
    st.lists(st.sets(hosts, min_size=1), min_size=1, max_size=4),
    st.sets(hosts, min_size=1),
    st.integers(0, 60 * DAY),
)
def test_no_held_policy_is_ever_left_without_a_host(listed: list[set[str]], declared: set[str], now: int) -> None:
    """Whatever was published, after removing all that is not needed each held enforce policy has an MX host left."""
    versions = [
        version(number, *names, noted=LiveId(f"id{number - 1}", (number - 1) * DAY, TTL) if number > 1 else None)
        for number, names in enumerate(listed, start=1)
    ][::-1]
    live_id = LiveId(f"id{len(listed)}", len(listed) * DAY, TTL)
    live = [LiveMx(host, 0, TTL) for host in sorted(set().union(*listed) | declared)]
    needed = {one.host for one in needed_hosts(sorted(declared), live, versions, live_id, now)}
    left = declared | needed
    for held in held_policies(versions, live_id, now):
        served_by_old = {mx.host for mx in live if any(mx_matches(pattern, mx.host) for pattern in held.policy.mx)}
        assert not served_by_old or served_by_old & left
