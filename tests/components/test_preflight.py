"""A new MX host of an enforced domain must work before it is in DNS."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dns.resolver import NoNameservers
from pulumi_mta_sts import JudgedHost, judge
from pulumi_mta_sts.outside import outside, use

from mta_sts.checks.smtp import SmtpCause
from mta_sts.fetch import FetchCause
from tests.components.mocked import TARGET, World, deploy, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

MX = [{"host": "mx1.example.com", "preference": 10}, {"host": "mx2.example.com", "preference": 20}]
GOOD: dict[str, Any] = {
    "domain": "example.com",
    "mx": MX,
    "manage_mx": True,
    "mode": "enforce",
    "acknowledge": "a reason",
    "reports": ["mailto:tls-reports@example.com"],
    "host": {"bucket": "policies", "target": TARGET},
}
UNREACHED = [
    (SmtpCause.NO_CONNECTION, "no connection within 10 s"),
    (SmtpCause.NO_ROUTE, "no connection (Network is unreachable)"),
    (SmtpCause.REFUSED, "no connection (Connection refused)"),
]
BAD = [
    (FetchCause.CERTIFICATE_EXPIRED, "certificate has expired"),
    (FetchCause.CERTIFICATE_NAME, "the certificate is not valid for mx2.example.com"),
    (SmtpCause.NO_STARTTLS, "does not offer STARTTLS"),
    (SmtpCause.TLS_VERSION, "speaks no TLS 1.2, only TLSv1"),
]


def refused(world: World, **changed: Any) -> tuple[str, list[str]]:
    """Return message and paths of the refusal."""
    return refusal(world, lambda: judge([GOOD | changed], JudgedHost("policies")))


def warnings(world: World, **changed: Any) -> Sequence[str]:
    """Return what is warned of where it is not refused."""
    return deploy(world, lambda: judge([GOOD | changed], JudgedHost("policies"))).warnings


def test_hosts_that_work_are_let_in(world: World) -> None:
    """Nothing is said of them."""
    assert not [warning for warning in warnings(world) if "mx2" in warning]


@pytest.mark.parametrize(("cause", "words"), BAD)
@pytest.mark.parametrize("checked", [{}, {"checked": "by hand, yesterday"}])
def test_a_host_seen_broken_is_refused_whoever_says_otherwise(
    world: World, cause: Any, words: str, checked: dict[str, str]
) -> None:
    """The host, its address and its fault are named; what is seen outweighs what is stated."""
    world.mail_hosts["mx2.example.com"] = (cause, words)
    message, paths = refused(world, mx=[MX[0], MX[1] | checked])
    assert ["domains[0].mx"] == paths
    assert f"mx2.example.com is not ready for senders in enforce (192.0.2.25: {words})" in message
    assert "mx1.example.com is not" not in message


@pytest.mark.parametrize(("cause", "words"), UNREACHED)
def test_a_host_that_can_not_be_looked_at_needs_somebodys_word(world: World, cause: Any, words: str) -> None:
    """Where port 25 is blocked, a name for who looked lets it in, with a warning."""
    world.mail_hosts["mx2.example.com"] = (cause, words)
    message, paths = refused(world)
    assert ["domains[0].mx"] == paths
    assert f"mx2.example.com can't be looked at from here ({words}" in message
    assert "`checked: <who looked, when>`" in message
    said = warnings(world, mx=[MX[0], MX[1] | {"checked": "by hand, yesterday"}])
    assert 1 == sum("checked: by hand, yesterday" in warning for warning in said)


def test_a_host_without_address_is_refused(world: World) -> None:
    """Senders would wait for it."""
    world.mail_hosts["mx2.example.com"] = ()
    assert "mx2.example.com has no address" in refused(world)[0]


def test_a_host_whose_name_can_not_be_looked_up_is_refused(world: World) -> None:
    """SERVFAIL is no missing address; it may be this machine's resolver, so somebody's word counts here too."""

    async def servfail(_: str) -> list[tuple[str, int]]:
        raise NoNameservers

    use(replace(outside(), mail_addresses=servfail))
    message, paths = refused(world)
    assert ["domains[0].mx"] * 2 == paths
    assert "mx2.example.com can't be looked at from here (its addresses can't be looked up: " in message
    assert "Run it again" in message
    assert "has no address" not in message
    assert warnings(world, mx=[entry | {"checked": "by hand, yesterday"} for entry in MX])


@pytest.mark.parametrize("changed", [{"mode": "testing"}, {"manage_mx": False}])
def test_nobody_asks_where_no_sender_would_refuse_or_others_manage(world: World, changed: dict[str, Any]) -> None:
    """In testing senders deliver anyway; records that others make are not ours to hold back."""
    world.mail_hosts["mx2.example.com"] = BAD[0]
    assert not [warning for warning in warnings(world, **changed) if "not ready" in warning]


def test_a_host_that_is_in_dns_already_is_not_asked(world: World) -> None:
    """Holding back a change elsewhere would mend nothing."""
    for host in ("mx1.example.com", "mx2.example.com"):
        world.has("MX", "example.com", host, priority=10.0)
    world.mail_hosts["mx2.example.com"] = BAD[0]
    assert not [warning for warning in warnings(world, adopt=True) if "not ready" in warning]
