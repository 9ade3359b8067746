"""A policy host moves with the policy that is served, or after it: never together with another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dns.resolver import NoNameservers
from pulumi_mta_sts import JudgedHost, MtaSts, former_host, judge
from pulumi_mta_sts.former_host import Serving
from pulumi_mta_sts.outside import outside, use

from mta_sts import parse_policy
from tests.components.mocked import STATE, TARGET, World, deploy, refusal
from tests.components.test_brake import ENFORCED, MX1, MX2, SERVED, live

if TYPE_CHECKING:
    from collections.abc import Callable

FORMER = "dold.cloudfront.net"
OTHER = ENFORCED | {"mx": [MX1, MX2]}
ALONE = {key: value for key, value in OTHER.items() if key != "host"}
HOST = "urn:pulumi:test::mta-sts::mta-sts:index:MtaSts$mta-sts:index:PolicyHost$"
DISTRIBUTION = f"{HOST}aws:cloudfront/distribution:Distribution::"
OTHERS = "b" * 32
STATED = {"mode": "enforce", "mx": ["mx1.example.com"], "max_age": 1_209_600, "seen": "2026-01-01T00:00:00Z"}
HISTORY = {"history": [STATED | {"id": OTHERS, "source": "another bucket"}]}
TESTING = SERVED.replace("enforce", "testing")


@pytest.fixture
def former(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let the name lead to a former host that serves policies; the function returns which domains were fetched."""

    def serve(*bodies: str, target: str = FORMER, shown: str = SERVED) -> list[str]:
        asked: list[str] = []

        async def look(domain: str) -> Serving:
            asked.append(domain)
            return Serving([parse_policy(body) for body in bodies])

        live(world, shown)
        world.records["zone-1"][1]["content"] = target
        monkeypatch.setattr(former_host, "_look", look)
        return asked

    return serve


@pytest.mark.parametrize(("mode", "shown"), [("enforce", SERVED), ("testing", TESTING)])
def test_another_policy_and_another_host_are_two_updates(
    world: World, former: Callable[..., list[str]], mode: str, shown: str
) -> None:
    """Refused before anything is registered, in every mode, with what is served now and the steps in their order."""
    former(shown, shown=shown)
    message, paths = refusal(world, lambda: MtaSts("mail", OTHER | {"mode": mode}))
    assert ["host"] == paths
    assert f"mta-sts.example.com leads to {FORMER} and moves to {TARGET}" in message
    steps = [
        f"(1) declare what is served now (mode {mode}, mx mx1.example.com, max_age 1209600)",
        f"(2) take the alias mta-sts.example.com off the distribution {FORMER}",
        "(3) update",
        "(4) 300 s later publish the new policy",
    ]
    assert sorted(steps, key=message.index) == steps


def test_a_host_that_is_no_distribution_keeps_its_name(world: World, former: Callable[..., list[str]]) -> None:
    """There is no alias to be taken off."""
    former(SERVED, target="policies.elsewhere.example")
    message, _ = refusal(world, lambda: MtaSts("mail", OTHER))
    assert "alias" not in message
    assert "(3) 300 s later" in message


@pytest.mark.parametrize("bodies", [[SERVED.replace("1209600", "604800")], []])
def test_a_move_with_the_same_policy_goes_on(world: World, former: Callable[..., list[str]], bodies: list[str]) -> None:
    """The new id is waited for by a barrier; what nobody can fetch any more can't be kept under it."""
    former(*bodies)
    run = deploy(world, lambda: MtaSts("mail", ENFORCED | {"max_age": 604_800}))
    (said,) = [warning for warning in run.warnings if "policy-host-moves" in warning]
    assert "keep the former host until 300 s after that" in said
    assert TARGET == run["mail-policy-host"].inputs["content"]


def test_a_host_whose_name_can_not_be_looked_up_does_not_move(
    world: World, former: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SERVFAIL is not "served by nobody": others may be led there, and get another policy. The brake goes on."""
    look = former_host._look
    former(SERVED)
    monkeypatch.setattr(former_host, "_look", look)

    async def servfail(_: str) -> list[tuple[str, int]]:
        raise NoNameservers

    use(replace(outside(), addresses=servfail))
    message, paths = refusal(world, lambda: MtaSts("mail", OTHER))
    assert ["host"] == paths
    assert "[policy-host-unread]" in message
    assert "override:" in message
    deploy(world, lambda: MtaSts("mail", ENFORCED | {"mode": "testing"}))


def test_one_address_that_serves_another_policy_is_enough(world: World, former: Callable[..., list[str]]) -> None:
    """Some sender is led to it."""
    same = "version: STSv1\nmode: enforce\nmx: mx2.example.com\nmx: mx1.example.com\nmax_age: 1209600\n"
    former(same, SERVED)
    assert "policy-host-moves" in refusal(world, lambda: MtaSts("mail", OTHER))[0]


def test_a_host_that_stays_is_not_looked_at(world: World, former: Callable[..., list[str]]) -> None:
    """Neither is one that moves under an unchanged id, nor one whose target flows from its resources."""
    asked = former(SERVED, target=TARGET)
    deploy(world, lambda: MtaSts("mail", OTHER))
    world.records["zone-1"][1]["content"] = FORMER
    deploy(world, lambda: MtaSts("mail", ENFORCED))
    deploy(world, lambda: judge([OTHER], JudgedHost("policies")))
    assert [] == asked


@pytest.mark.parametrize("lost", [False, True])
def test_the_brake_waits_for_no_move(world: World, former: Callable[..., list[str]], *, lost: bool) -> None:
    """Its barrier waits out the old address; with an empty bucket, what is served tells whether it is one."""
    former(SERVED)
    if lost:
        world.versions.clear()
    run = deploy(world, lambda: MtaSts("mail", ENFORCED | {"mode": "testing"}))
    assert any("policy-host-moves" in warning for warning in run.warnings)


def test_another_policy_in_an_empty_bucket_is_refused_in_testing_too(
    world: World, former: Callable[..., list[str]]
) -> None:
    """What was served so far is not known, but what is served now is."""
    former(TESTING, shown=TESTING)
    world.versions.clear()
    assert "policy-host-moves" in refusal(world, lambda: MtaSts("mail", OTHER | {"mode": "testing"}))[0]


def test_a_host_of_ones_own_is_known_from_the_state(world: World, former: Callable[..., list[str]]) -> None:
    """Asked where the bucket does not know the visible id: one that is not there yet is another; it names the alias."""
    asked = former(SERVED)
    bucket = {"mail-host-test-111111111111"}
    deploy(world, lambda: MtaSts("mail", ALONE))  # its bucket knows the id that senders see: it is where they are led
    assert [] == asked
    assert STATE not in {function for function, _ in world.calls}
    world.records["zone-1"][0]["content"] = f'"v=STSv1; id={OTHERS};"'
    message, _ = refusal(world, lambda: MtaSts("mail", ALONE | HISTORY))
    assert "moves to a policy host that is yet to be made" in message
    alias = {"aliases": ["mta-sts.example.com"]}
    world.state[f"{DISTRIBUTION}old-distribution"] = alias | {"domainName": FORMER}
    message, _ = refusal(world, lambda: MtaSts("mail", ALONE | HISTORY))
    assert "off this stack's old-distribution, at CloudFront" in message
    world.state[f"{DISTRIBUTION}mail-host-distribution"] = {"domainName": TARGET}
    assert f"moves to {TARGET}" in refusal(world, lambda: MtaSts("mail", ALONE | HISTORY))[0]
    world.state[f"{DISTRIBUTION}mail-host-distribution"] = alias | {"domainName": FORMER}
    run = deploy(world, lambda: MtaSts("mail", ALONE | HISTORY))
    assert bucket == {run["mail-policy"].inputs["bucket"]}


def test_a_state_that_can_not_be_read_refuses_nothing(world: World, former: Callable[..., list[str]]) -> None:
    """The barrier still waits."""
    former(SERVED)
    world.records["zone-1"][0]["content"] = f'"v=STSv1; id={OTHERS};"'
    world.failing[STATE] = {"says": "backend is gone"}
    deploy(world, lambda: MtaSts("mail", ALONE | HISTORY))


def test_a_bucket_that_can_not_be_read_tells_of_no_move(world: World, former: Callable[..., list[str]]) -> None:
    """Whose id is live can't be told: the brake gets no step that is not its own."""
    former(SERVED)
    world.failing["s3"] = "AccessDenied"
    run = deploy(world, lambda: MtaSts("mail", ALONE | {"mode": "testing"}))
    assert not [line for line in run.warnings if "policy-host-moves" in line]


def test_an_empty_bucket_is_told_of_the_order(world: World, former: Callable[..., list[str]]) -> None:
    """Another bucket with the same policy needs the history, and the name to move first."""
    former(SERVED)
    world.versions.clear()
    message, paths = refusal(world, lambda: MtaSts("mail", ENFORCED))
    assert ["host"] == paths
    assert "leave the policy as it is until the name has moved" in message
