"""What becomes of a domain that is published already: what is noted, what is kept, what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pulumi
import pytest
from pulumi_mta_sts import MtaSts
from pulumi_mta_sts.outside import outside, use
from pulumi_mta_sts.unproved import out_of_order

from mta_sts import Mode, Policy, content_id, render_policy, resolve_domain
from mta_sts.checks.smtp import SmtpCause
from mta_sts.cloud_resources import LEAVING
from mta_sts.fetch import FetchCause
from mta_sts.ledger import FETCH_SECONDS, PolicyVersion
from tests.components.mocked import OWN, TARGET, Run, World, deploy, refusal

DAY = 86_400
NOW = 1_767_225_600.0
"""What the clock shows in these tests."""


@pytest.fixture(autouse=True)
def _standing_clock(world: World) -> None:
    use(replace(outside(), now=lambda: NOW))  # the fixture `world` puts the real one back
    world.written = datetime.fromtimestamp(NOW - 90 * DAY, UTC)


def moment(ago: float) -> str:
    """Return the date of so many seconds ago, as Cloudflare writes it."""
    return datetime.fromtimestamp(NOW - ago, UTC).isoformat().replace("+00:00", "Z")


def policy(*hosts: str, mode: Mode = Mode.ENFORCE) -> str:
    """Return a policy with max_age two weeks."""
    return render_policy(Policy("STSv1", mode, tuple(f"{host}.example.com" for host in hosts), 14 * DAY)).decode()


def identifier(body: str) -> str:
    """Return an id of a body."""
    return f"{content_id(body)}00000000"


def published(
    world: World, body: str, *hosts: str, shown: str = "", ago: float = 90 * DAY, ttl: int = 300, **metadata: str
) -> None:
    """Let a policy be published here `ago` seconds ago, with these MX hosts; `shown` is the id if it is another."""
    more = {"comment": OWN, "modifiedOn": moment(ago), "ttl": float(ttl)}
    world.has("TXT", "_mta-sts.example.com", f'"v=STSv1; id={shown or identifier(body)};"', **more)
    world.has("CNAME", "mta-sts.example.com", TARGET, **more)
    for number, host in enumerate(hosts, 1):
        world.has("MX", "example.com", f"{host}.example.com", priority=10.0 * number, **more)
    noted = {key.replace("_", "-"): value for key, value in metadata.items()}
    world.versions["example.com"] = ("v1", {"sts-id": identifier(body), **noted})
    world.bodies["example.com"] = body.encode()


def declared(*hosts: str, **more: Any) -> dict[str, Any]:
    """Return the configuration with these managed MX hosts, in enforce."""
    return {
        "domain": "example.com",
        "mode": "enforce",
        "acknowledge": "seen",
        "manage_mx": True,
        "mx": [{"host": f"{host}.example.com", "preference": 10 * place} for place, host in enumerate(hosts, 1)],
        "reports": ["mailto:tls-reports@example.com"],
        "host": {"bucket": "policies", "target": TARGET},
        **more,
    }


def publish(world: World, args: dict[str, Any]) -> Run:
    """Deploy the domain."""
    return deploy(world, lambda: MtaSts("mail", args))


def noted(run: Run, key: str) -> str | None:
    """Return what the policy object notes."""
    value: str | None = run["mail-policy"].inputs["metadata"].get(key)
    return value


@pytest.mark.parametrize(
    ("key", "setting"), [("sts-txt-ttl", "txt_ttl"), ("sts-mx-ttl", "mx_ttl"), ("sts-host-ttl", "cname_ttl")]
)
def test_a_ttl_that_is_lowered_is_remembered_with_the_policy(world: World, key: str, setting: str) -> None:
    """The object is written before the record, and keeps the note under this id; a TTL that stays needs none."""
    published(world, policy("mx1"), "mx1", ttl=DAY)
    as_it_is = declared("mx1", txt_ttl=DAY, mx_ttl=DAY, cname_ttl=DAY)
    assert noted(publish(world, as_it_is), key) is None
    assert str(DAY) == noted(publish(world, as_it_is | {setting: 60}), key)
    for record in world.records["zone-1"]:
        record |= {"ttl": 60.0, "modifiedOn": moment(0)}
    world.versions["example.com"][1][key] = str(DAY)  # type: ignore[index]
    lowered = declared("mx1", txt_ttl=60, mx_ttl=60, cname_ttl=60)
    assert str(DAY) == noted(publish(world, lowered), key)


def test_a_lowered_mx_ttl_is_remembered_under_a_new_id_until_no_cache_has_it(world: World) -> None:
    """A host that came since is not relied on before caches have forgotten the MX records without it."""
    both = policy("mx1", "mx2")
    for ago, expected in ((100, str(DAY)), (2 * DAY, None)):
        world.records.clear()
        published(world, both, "mx1", "mx2", ago=ago, sts_mx_ttl=str(DAY))
        changed = publish(world, declared("mx1", "mx2", max_age=7 * DAY))
        assert expected == noted(changed, "sts-mx-ttl")
    world.records.clear()
    published(world, both, "mx1", "mx2", ago=3600, sts_mx_ttl=str(DAY))
    world.records["zone-1"][2]["comment"] = LEAVING
    kept = publish(world, declared("mx2"))
    assert "mail-mx-mx1.example.com" in kept
    assert any("mx1.example.com" in warning and moment(3600 - DAY)[:16] in warning for warning in kept.warnings)


def test_notes_that_can_not_be_read_stay_with_the_policy(world: World) -> None:
    """Nothing changes, so far as can be seen: what an object without them would forget, or note too early.

    With a new epoch beside the old id, the next plan would take that id for the new one's. Nor is an id asked for in
    notes that stay.
    """
    published(world, policy("mx1"), "mx1", sts_mx_ttl=str(DAY), sts_host_ttl=str(DAY))
    read = publish(world, declared("mx1"))
    world.failing["s3"] = "AccessDenied"
    unread = publish(world, declared("mx1", epoch="2"))
    brake = publish(world, declared("mx1", mode="testing"))
    ignored = [list(run["mail-policy"].request.ignoreChanges) for run in (read, unread, brake)]
    assert [[], ["metadata"], []] == ignored
    asked = ["mail-id-is-noted" in run["mail-sts-record"].request.hooks.before_update for run in (read, unread, brake)]
    assert [True, False, True] == asked


@pytest.mark.parametrize(
    ("ttl", "ago", "notes", "moved"),
    [
        (DAY, 2 * DAY, {}, DAY),  # lowered and moved in one update
        (300, 3600, {"sts_host_ttl": str(DAY)}, DAY),  # lowered in an update before
        (300, 2 * DAY, {"sts_host_ttl": str(DAY)}, 300),  # so long ago that no cache has it
        (300, 100, {}, 300),
        (60, 30, {}, 300),  # raised
    ],
)
def test_a_policy_host_that_moves_keeps_the_longest_ttl_that_caches_may_have_it_for(
    world: World, ttl: int, ago: float, notes: dict[str, str], moved: int
) -> None:
    """The record then tells every later plan how long some senders are led to the former host."""
    for target, expected in ((TARGET, 300), ("dnew.cloudfront.net", moved)):
        world.records.clear()
        published(world, policy("mx1"), "mx1", ttl=ttl, ago=ago, **notes)
        run = publish(world, declared("mx1", host={"bucket": "policies", "target": target}))
        assert expected == run["mail-policy-host"].inputs["ttl"], target


def test_an_automatic_ttl_stays_automatic(world: World) -> None:
    """Cloudflare's 1 is served as 300: an update right after the first changes nothing."""
    published(world, policy("mx1"), "mx1", ttl=1, ago=10)
    assert 1 == publish(world, declared("mx1", cname_ttl=1))["mail-policy-host"].inputs["ttl"]


def lines(run: Run, word: str) -> list[str]:
    """Return the warnings that hold a word."""
    return [warning for warning in run.warnings if word in warning]


def test_a_host_that_is_replaced_is_dated_by_the_last_of_the_reasons(world: World) -> None:
    """At first by what this update begins: for two weeks from now senders hold the policy that lists it alone."""
    published(world, policy("mx1"), "mx1")
    end = moment(-(300 + FETCH_SECONDS + 14 * DAY))[:16]
    (line,) = lines(publish(world, declared("mx2")), "mx1.example.com is no longer declared")
    assert "the hosts that replace it are not yet live" in line
    assert f"no update before {end}" in line


def test_an_mx_record_of_others_is_not_said_to_leave(world: World) -> None:
    """It is not ours to delete, whether the policy ever listed it or not: it is in the way, and that is said alone."""
    published(world, policy("mx1", "mx2", mode=Mode.TESTING), "mx2")
    for host in ("mx1.example.com", "stray.example.net"):
        world.has("MX", "example.com", host, priority=30.0)
    mx = [{"host": "mx2.example.com", "preference": 10}]
    warnings = publish(world, declared(mode="testing", mx=mx)).warnings
    assert [] == [line for line in warnings if "mx-kept" in line]
    assert 2 == len([line for line in warnings if "record-in-the-way" in line])


def test_an_id_does_not_return_where_the_versions_after_it_are_lost(world: World) -> None:
    """The record shows an id of ours that no version has: refused in enforce, and else published under a new id."""
    served, lost = policy("mx1"), policy("mx1", "mx2")
    published(world, served, "mx1", shown=identifier(lost))
    message, paths = refusal(world, lambda: MtaSts("mail", declared("mx1")))
    assert ["host"] == paths
    assert "holds no policy of example.com under that id" in message

    tested = policy("mx1", mode=Mode.TESTING)
    world.records.clear()
    published(world, tested, "mx1", shown=identifier(lost))
    run = publish(world, declared("mx1", mode="testing", max_age=14 * DAY))
    assert lines(run, "history-lost")
    fresh = noted(run, "sts-id")
    assert fresh not in (identifier(tested), identifier(lost))
    # An update that stopped between object and record goes on under that id.
    world.versions["example.com"] = ("v2", run["mail-policy"].inputs["metadata"])
    assert fresh == noted(publish(world, declared("mx1", mode="testing", max_age=14 * DAY)), "sts-id")


def test_an_update_that_stopped_before_the_record_has_lost_nothing(world: World) -> None:
    """The record still shows the id that was live when the newest version was planned."""
    published(world, policy("mx1"), "mx1", shown="before", sts_live=f"before {NOW - 99 * DAY:.0f} 300")
    run = publish(world, declared("mx1", history=[former("before", "enforce")]))
    assert identifier(policy("mx1")) == noted(run, "sts-id")


def former(shown: str, mode: str) -> dict[str, Any]:
    """Return what `history` states of an id."""
    policy = {"id": shown, "mode": mode, "mx": ["mx1.example.com"], "max_age": 7 * DAY}
    return policy | {"seen": moment(100 * DAY), "source": "a test"}


def test_what_is_lost_protects_the_records_for_a_year_unless_history_states_it(world: World) -> None:
    """Two days after a brake with an emptied bucket: the enforce policy under the former id may be held."""
    note = f"former {NOW - 90 * DAY:.0f} 300"
    published(world, policy("mx1", mode=Mode.TESTING), "mx1", ago=2 * DAY, sts_live=note)
    args = declared("mx1", mode="testing", max_age=14 * DAY)
    run = publish(world, args)
    assert run["mail-sts-record"].protect
    for mode, expected in (("enforce", True), ("testing", False)):
        run = publish(world, args | {"history": [former("former", mode)]})
        assert expected is run["mail-sts-record"].protect
        assert str(7 * DAY * expected) == noted(run, "sts-stated")
    # Taken out of the configuration, the policy object remembers it.
    world.versions["example.com"][1]["sts-stated"] = "0"  # type: ignore[index]
    assert not publish(world, args)["mail-sts-record"].protect


def test_a_host_of_before_stays_in_dns_while_nobody_says_what_was_served(world: World) -> None:
    """A domain that came without `history`: its policy may have listed that host alone."""
    note = f"former {NOW - 90 * DAY:.0f} 300"
    published(world, policy("mx1", "mx2"), "mx1", "mx2", ago=2 * DAY, sts_live=note)
    world.records["zone-1"][2]["comment"] = LEAVING
    run = publish(world, declared("mx2"))
    assert "mail-mx-mx1.example.com" in run
    assert lines(run, "`history` states it")


@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_a_published_domain_is_not_changed_without_its_records(world: World, mode: str) -> None:
    """A zone id that is an output: any MX host may be live. The brake goes on, with the warning."""
    published(world, policy("mx1"), "mx1")

    def program() -> None:
        MtaSts("mail", declared("mx2", mode=mode, zone_id=pulumi.Output.from_input("zone-1")))

    if mode == "enforce":
        message, paths = refusal(world, program)
        assert ["zone_id"] == paths
        assert "give `zone` by name" in message
    else:
        assert lines(deploy(world, program), "zone-unread")


@pytest.mark.parametrize("since", [NOW - 80 * DAY, NOW + 9 * DAY])
def test_a_note_from_after_its_version_was_written_is_refused(world: World, since: float) -> None:
    """In the future or not: no end can be told from it. The brake goes on, with a warning."""
    published(world, policy("mx1"), "mx1", sts_live=f"before {since:.0f} 300")
    message, paths = refusal(world, lambda: MtaSts("mail", declared("mx1", history=[former("before", "testing")])))
    assert ["host"] == paths
    assert "out of order, see v1" in message
    assert "[ledger-out-of-order]" in message
    assert lines(publish(world, declared("mx1", mode="testing")), "out of order")


def test_versions_and_notes_that_go_back_are_out_of_order() -> None:
    """Newest first, each is written after the next, and notes the record as it was no earlier."""

    def version(number: int, written: float, since: float) -> PolicyVersion:
        metadata = {"sts-id": f"id{number}", "sts-live": f"id{number - 1} {since:.0f} 300"}
        return PolicyVersion(f"v{number}", metadata, written, policy("mx1"))

    config = resolve_domain(declared("mx1"))
    assert [] == out_of_order(config, [version(3, NOW, 900), version(2, 1000, 600), version(1, 600, 600)])
    (written,) = out_of_order(config, [version(3, 1000, 900), version(2, 9000, 600)])
    assert "see v3 (id id3):" in written.message
    (noted_before,) = out_of_order(config, [version(3, 9000, 100), version(2, 8000, 600), version(1, 7000, 600)])
    assert "see v3 (id id3):" in noted_before.message


def published_policy(run: Run) -> str:
    """Return the policy that is published."""
    content: str = run["mail-policy"].inputs["content"]
    return content


def test_a_host_that_left_dns_stays_in_the_policy_until_no_cache_has_it(world: World) -> None:
    """Others replaced mx1 by mx2 five seconds ago, TTL an hour: a sender that sees mx1 must not find it unlisted."""
    both = policy("mx1", "mx2")
    published(world, both)
    world.has("MX", "example.com", "mx2.example.com", priority=10.0, ttl=3600.0, modifiedOn=moment(5))
    args = declared("mx2", manage_mx=False, mx=["mx2.example.com"])
    first = publish(world, args)
    assert both == published_policy(first)
    assert identifier(both) == noted(first, "sts-id")
    assert lines(first, f"update after {moment(-3600 - FETCH_SECONDS)[:16]}")
    world.versions["example.com"] = ("v2", first["mail-policy"].inputs["metadata"])
    for later, expected in ((3600 + FETCH_SECONDS - 1, both), (3600 + FETCH_SECONDS, policy("mx2"))):
        use(replace(outside(), now=lambda later=later: NOW + later))
        run = publish(world, args)
        assert expected == published_policy(run)
        assert (noted(first, "sts-absent") if expected == both else None) == noted(run, "sts-absent")


def test_another_host_that_leaves_starts_the_time_anew(world: World) -> None:
    """The note speaks of the hosts that were gone when it was made."""
    three = policy("mx1", "mx2", "mx3")
    published(world, three, "mx2", "mx3")
    first = publish(world, declared("mx2", "mx3"))
    world.versions["example.com"] = ("v2", first["mail-policy"].inputs["metadata"])
    world.records["zone-1"].pop()
    use(replace(outside(), now=lambda: NOW + DAY))
    assert three == published_policy(publish(world, declared("mx2", manage_mx=False, mx=["mx2.example.com"])))


def test_a_host_that_came_back_alone_and_left_again_starts_the_time_anew(world: World) -> None:
    """No plan saw it; but the host that stays is newer than the note: caches may have the MX records from between."""
    both = policy("mx1", "mx2")
    args = declared("mx2", manage_mx=False, mx=["mx2.example.com"])
    published(world, both, "mx2", ago=DAY)
    first = publish(world, args)
    world.versions["example.com"] = ("v2", first["mail-policy"].inputs["metadata"])
    use(replace(outside(), now=lambda: NOW + 2000))
    assert policy("mx2") == published_policy(publish(world, args))  # nothing happened in between

    world.records["zone-1"][2]["modifiedOn"] = moment(-1900)
    again = publish(world, args)
    assert both == published_policy(again)
    assert lines(again, f"update after {moment(-1900 - 300 - FETCH_SECONDS)[:16]}")

    world.has("MX", "example.com", "mx3.example.com", priority=30.0, modifiedOn=moment(DAY))
    beside = args | {"mx": ["mx2.example.com", "mx3.example.com"]}
    assert policy("mx2", "mx3") == published_policy(publish(world, beside))  # mx3 was there all the time


def test_what_no_sender_refuses_leaves_the_policy_at_once(world: World) -> None:
    """In testing they deliver anyway, so the brake is exactly what is declared."""
    published(world, policy("mx1", "mx2"), "mx2")
    run = publish(world, declared("mx2", mode="testing", max_age=14 * DAY))
    assert policy("mx2", mode=Mode.TESTING) == published_policy(run)


@pytest.mark.parametrize(
    ("seen", "checked", "words"),
    [
        ((FetchCause.CERTIFICATE_EXPIRED, "certificate has expired"), {}, "192.0.2.25: certificate has expired"),
        ((SmtpCause.NO_CONNECTION, "no connection within 10 s"), {}, "`checked: <who looked, when>`"),
        ((SmtpCause.NO_CONNECTION, "no connection within 10 s"), {"checked": "by hand"}, None),
        (None, {}, None),
    ],
)
def test_a_host_stays_while_no_other_of_the_policy_was_seen_working(
    world: World, seen: Any, checked: dict[str, str], words: str | None
) -> None:
    """mx1 is taken off, and mx2 can't be used: whoever holds the policy would have no host left."""
    published(world, policy("mx1", "mx2"), "mx1", "mx2")
    world.records["zone-1"][2]["comment"] = LEAVING
    if seen:
        world.mail_hosts["mx2.example.com"] = seen
    args = declared("mx2")
    args["mx"][0] |= checked
    run = publish(world, args)
    assert (words is not None) is ("mail-mx-mx1.example.com" in run)
    if words is not None:
        assert lines(run, words)


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("CNAME", "mta-sts.example.com", TARGET),
        ("TXT", "_mta-sts.example.com", '"v=STSv1; id=not an id;"'),
    ],
)
def test_a_domain_that_was_published_counts_as_held_also_where_no_id_is_shown(
    world: World, kind: str, name: str, content: str
) -> None:
    """Its record was deleted or spoilt, and the bucket knows nothing: only `history` can say that nobody holds any."""
    world.has(kind, name, content, comment=OWN, modifiedOn=moment(DAY))
    args = declared("mx1", mode="testing")
    first = publish(world, args)
    assert lines(first, "history-")
    assert first["mail-sts-record"].protect
    assert f"? {NOW - DAY:.0f} 300" == noted(first, "sts-live")
    world.records.clear()
    world.written = datetime.fromtimestamp(NOW - DAY / 2, UTC)
    body = published_policy(first)
    published(world, body, "mx1", shown=noted(first, "sts-id") or "", ago=DAY / 2)
    world.versions["example.com"] = ("v1", first["mail-policy"].inputs["metadata"])
    assert publish(world, args)["mail-sts-record"].protect
    nothing = {"id": "none", "mode": "none", "mx": [], "max_age": 86400, "seen": moment(DAY), "source": "a test"}
    world.records.clear()
    world.versions.clear()
    world.has("CNAME", "mta-sts.example.com", TARGET, comment=OWN, modifiedOn=moment(DAY))
    stated = publish(world, args | {"history": [nothing]})
    assert not lines(stated, "history-")
    assert not stated["mail-sts-record"].protect
