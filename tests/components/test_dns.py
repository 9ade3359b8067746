"""Reading and making DNS records at Cloudflare."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pulumi.runtime.sync_await import _sync_await
from pulumi_mta_sts import dns
from pulumi_mta_sts.outside import outside

from mta_sts import MtaStsError
from tests.components.mocked import OWN, RECORDS, World, deploy


def live(world: World) -> list[dns.LiveRecord]:
    """Return the records of the first zone as the components see them."""
    seen: list[dns.LiveRecord] = []
    deploy(world, lambda: seen.extend(dns.records(["zone-1"], None)[0]["zone-1"]))
    return seen


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("TXT", '"v=STSv1; " "id=1"', "v=STSv1; id=1"),
        ("TXT", "v=STSv1; id=1", "v=STSv1; id=1"),
        ("CNAME", "D1.CloudFront.net.", "d1.cloudfront.net"),
        ("MX", "Mx1.Example.com", "mx1.example.com"),
    ],
)
def test_content_is_read_as_it_is_compared(world: World, kind: str, content: str, expected: str) -> None:
    """Texts are joined and without quotes, names lower case and without trailing dot; the original is kept."""
    world.has(kind, "Example.com", content)
    (record,) = live(world)
    assert (expected, content, "example.com") == (record.content, record.presentation, record.name)


@pytest.mark.parametrize(("comment", "expected"), [(OWN, True), (None, False), ("", False), (f"{OWN} ", False)])
def test_our_comment_says_that_a_record_is_ours(world: World, comment: str | None, expected: bool) -> None:
    """It is the only mark that Cloudflare's free plan has room for: at most 100 characters."""
    world.has("TXT", "_mta-sts.example.com", '"x"', comment=comment)
    assert expected is live(world)[0].ours
    assert len(dns.MARK) <= 100


@pytest.mark.parametrize(("ttl", "expected"), [(1, 300), (60, 60), (300, 300)])
def test_automatic_ttl_is_five_minutes(ttl: int, expected: int) -> None:
    """Cloudflare's 1 is not one second."""
    assert expected == dns.effective_ttl(ttl)


def test_a_record_whose_age_is_not_told_counts_as_new(world: World) -> None:
    """Waits are then counted from now; any older date would end them."""
    world.has("TXT", "_mta-sts.example.com", '"x"')
    world.has("TXT", "_mta-sts.example.com", '"x"', modifiedOn="1970-01-01T00:01:00Z")
    before = outside().now()
    untold, told = live(world)
    assert before <= untold.modified <= outside().now()
    assert 60 == told.modified


def look_before(world: World, wanted: dict[str, Any]) -> None:
    """Run the hook that stands before a record's creation."""

    def program() -> None:
        hook = dns.no_second_record("mail-no-second-record", None)
        _sync_await(hook.callback(SimpleNamespace(new_inputs=wanted)))

    deploy(world, program)


STS = {"zoneId": "zone-1", "name": "_mta-sts.example.com", "type": "TXT", "content": '"v=STSv1; id=2;"'}
MX = {"zoneId": "zone-1", "name": "_mta-sts.example.com", "type": "MX", "content": "mx1.example.com"}
CNAME = {"zoneId": "zone-1", "name": "_mta-sts.example.com", "type": "CNAME", "content": "d1.cloudfront.net"}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (("TXT", '"v=STSv1; id=1;"'), STS),
        (("CNAME", "elsewhere.example"), CNAME),
        (("MX", "mx1.example.com"), MX),
    ],
)
def test_a_second_record_is_refused_before_it_is_made(
    world: World, there: tuple[str, str], wanted: dict[str, Any]
) -> None:
    """Whoever made the one that stands there, and whenever it came: it is named, with the way out."""
    world.has(there[0], "_mta-sts.example.com", there[1], comment=OWN)
    with pytest.raises(FileExistsError, match=r"zone-1-record-1.*adopt: true"):
        look_before(world, wanted)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [(("CNAME", "elsewhere.example"), STS), (("A", "192.0.2.1"), CNAME), (("TXT", '"x"'), CNAME)],
)
def test_what_can_not_be_imported_has_to_be_removed(
    world: World, there: tuple[str, str], wanted: dict[str, Any]
) -> None:
    """A record of another type can't be taken over as the one that is wanted: `adopt` is no way out."""
    world.has(there[0], "_mta-sts.example.com", there[1])
    with pytest.raises(FileExistsError, match=r"zone-1-record-1.*remove it: no (TXT|CNAME) can") as caught:
        look_before(world, wanted)
    assert "adopt" not in str(caught.value)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [(None, STS), (("MX", "mx2.example.com"), MX), (("TXT", '"x"'), MX), (("MX", "mx2.example.com"), STS)],
)
def test_other_records_at_the_name_do_not_stop_it(
    world: World, there: tuple[str, str] | None, wanted: dict[str, Any]
) -> None:
    """Several MX hosts share a name, and a TXT may stand beside an MX."""
    if there:
        world.has(there[0], "_mta-sts.example.com", there[1])
    look_before(world, wanted)


def test_what_a_preview_does_not_know_yet_is_looked_at_in_the_update(world: World) -> None:
    """A name that a certificate decides is unknown in the preview; the hook asks nothing then."""
    look_before(world, {"zoneId": "zone-1", "type": "CNAME"})
    assert [] == world.calls


def test_the_hook_says_what_to_grant(world: World) -> None:
    """A token that lost its permission in mid-update stops the record, in the same words as at plan time."""
    world.failing[RECORDS] = {"says": "403 Forbidden"}
    with pytest.raises(MtaStsError, match=r"403 Forbidden.*DNS:Read"):
        look_before(world, STS)
