"""A domain that comes from another host: `history` is believed as far as it is live, and nothing is imported twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pulumi_mta_sts import MtaSts, former_host
from pulumi_mta_sts.former_host import Serving

from mta_sts import parse_policy
from tests.components.mocked import OWN, STATE, TARGET, World, deploy, refusal
from tests.components.test_judgement import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 604800\n"
ENTRY = {
    "id": "old1",
    "mode": "enforce",
    "mx": ["mx1.example.com"],
    "max_age": 604_800,
    "seen": "2026-11-24T12:00:00+00:00",
    "source": "https://mta-sts.example.com at 192.0.2.1",
}
ENFORCE = GOOD | {"mode": "enforce", "max_age": 604_800, "adopt": True, "history": [ENTRY]}
URN = "urn:pulumi:dev::mail::{parent}mta-sts:index:MtaSts$cloudflare:index/dnsRecord:DnsRecord::mail-{role}"


@pytest.fixture
def served(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let the old host show an id and serve policies; the function returns which domains were fetched."""

    def serve(*bodies: str, identifier: str = "old1", problems: tuple[str, ...] = ()) -> list[str]:
        asked: list[str] = []

        async def look(domain: str) -> Serving:
            asked.append(domain)
            return Serving([parse_policy(body) for body in bodies], problems)

        world.has("TXT", "_mta-sts.example.com", f'"v=STSv1; id={identifier};"')
        world.has("CNAME", "mta-sts.example.com", "policies.elsewhere.example")
        monkeypatch.setattr(former_host, "_look", look)
        return asked

    return serve


def test_a_domain_that_enforces_elsewhere_is_adopted_without_evidence(
    world: World, served: Callable[..., list[str]]
) -> None:
    """What `history` states is served live under the visible id: no step is taken, and it is looked at once a run."""
    asked = served(POLICY)
    run = deploy(world, lambda: MtaSts("mail", ENFORCE))
    assert [] == run.warnings
    assert "mode: enforce" in run["mail-policy"].inputs["content"]
    assert ["example.com"] == asked


@pytest.mark.parametrize(
    ("bodies", "identifier", "words"),
    [
        ([POLICY.replace("enforce", "testing")], "old1", "another policy is served under the id old1"),
        ([POLICY, POLICY.replace("mx1", "mx2")], "old1", "another policy is served under the id old1"),
        ([POLICY], "old2", "the id old2, of which `history` says nothing"),
        ([], "old1", "no policy was served at mta-sts.example.com (refused)"),
    ],
    ids=["testing", "one edge differs", "other id", "nothing"],
)
def test_a_history_that_is_not_live_is_not_believed(
    world: World, served: Callable[..., list[str]], bodies: list[str], identifier: str, words: str
) -> None:
    """Writing `enforce` into `history` is no way around the evidence; a stated reason still is one, and is shown."""
    served(*bodies, identifier=identifier, problems=("refused",))
    message, paths = refusal(world, lambda: MtaSts("mail", ENFORCE))
    assert ["mode"] == paths
    assert "no evidence" in message
    warnings = deploy(world, lambda: MtaSts("mail", ENFORCE | {"acknowledge": "seen for a year"})).warnings
    assert any(words in warning and "history-not-live" in warning for warning in warnings)
    assert any("seen for a year" in warning for warning in warnings)


def test_a_testing_domain_asks_nobody(world: World, served: Callable[..., list[str]]) -> None:
    """Only a claim to enforce already is worth a fetch."""
    asked = served(POLICY)
    deploy(world, lambda: MtaSts("mail", ENFORCE | {"mode": "testing"}))
    assert [] == asked


def test_what_is_adopted_without_its_history_is_warned_about(world: World) -> None:
    """What senders hold from before is then unknown."""
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=old1;"')
    (warning,) = deploy(world, lambda: MtaSts("mail", GOOD | {"adopt": True})).warnings
    assert "history-missing" in warning
    assert "mta-sts adopt example.com" in warning


def test_a_live_host_that_only_the_old_policy_lists_stays_in_the_new_one(
    world: World, served: Callable[..., list[str]]
) -> None:
    """Until it leaves DNS: what is served now counts, wherever it is served."""
    served(POLICY)
    world.has("MX", "example.com", "mx1.example.com", priority=10.0)
    run = deploy(world, lambda: MtaSts("mail", ENFORCE | {"mx": ["mx9.example.com"]}))
    assert "mx: mx1.example.com\nmx: mx9.example.com\n" in run["mail-policy"].inputs["content"]


@pytest.mark.parametrize("comment", [OWN, "changed by hand"])
@pytest.mark.parametrize("parent", ["", "other:index:Stack$"])
def test_a_record_in_the_state_is_not_imported_again(world: World, comment: str, parent: str) -> None:
    """The engine would take it for a replacement, and delete the live record afterwards."""
    world.has("CNAME", "mta-sts.example.com", TARGET, comment=comment)
    args: dict[str, Any] = GOOD | {"adopt": True}
    world.state = {URN.format(parent=parent, role="tlsrpt-record"): {}}
    assert "zone-1/zone-1-record-1" == deploy(world, lambda: MtaSts("mail", args))["mail-policy-host"].request.importId
    world.state[URN.format(parent=parent, role="policy-host")] = {}
    assert "" == deploy(world, lambda: MtaSts("mail", args))["mail-policy-host"].request.importId


def test_where_the_state_can_not_be_read_nothing_is_adopted(world: World) -> None:
    """Not knowing is no reason to import; without `adopt` nobody asks."""
    world.has("CNAME", "mta-sts.example.com", TARGET, comment=OWN)
    world.failing[STATE] = {"says": "backend is gone"}
    message, paths = refusal(world, lambda: MtaSts("mail", GOOD | {"adopt": True}))
    assert [""] == paths
    assert "backend is gone" in message
    deploy(world, lambda: MtaSts("mail", GOOD))
