"""`history`: what a configuration states of the time before, checked and turned into the ledger's form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mta_sts import Mode, Policy, check_domain, resolve_domain
from mta_sts.findings import MtaStsError
from mta_sts.history import check_history, history_entry, history_versions
from mta_sts.ledger import FETCH_SECONDS, ID_METADATA, LiveId, PolicyVersion, held_policies

SEEN = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = Policy("STSv1", Mode.ENFORCE, ("mx1.example.com", "*.example.net"), 604_800)
ENTRY = history_entry("old1", POLICY, SEEN, "https://mta-sts.example.com at 192.0.2.1")
DAY = 86_400


def test_what_adopt_prints_comes_back_as_the_policy() -> None:
    """The same policy, under its id, as a version that never was in the bucket."""
    assert [] == check_history([ENTRY])
    (version,) = history_versions([ENTRY])
    assert POLICY == version.policy
    assert ("", "old1", SEEN.timestamp()) == (version.version_id, version.metadata[ID_METADATA], version.written)
    config = {"domain": "example.com", "mx": ["mx1.example.com"], "history": [ENTRY]}
    assert (version,) == resolve_domain(config).history


def test_numbers_of_other_languages_and_of_yaml_are_taken() -> None:
    """An id of digits alone may come as a number, and whole numbers with a fraction."""
    (version,) = history_versions([ENTRY | {"id": 20240101.0, "max_age": 604_800.0}])
    assert ("20240101", POLICY) == (version.metadata[ID_METADATA], version.policy)
    assert [] == check_history([ENTRY | {"id": 20240101, "seen": SEEN}])


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("yesterday", "history"),
        ({"id": "a"}, "history"),
        (["old1"], "history[0]"),
        ([{"id": "old1"}], "history[0]"),
        ([ENTRY | {"ids": 1}], "history[0].ids"),
        ([ENTRY | {"id": "old 1"}], "history[0].id"),
        ([ENTRY | {"seen": "2026-11-24"}], "history[0].seen"),
        ([ENTRY | {"seen": "last week"}], "history[0].seen"),
        ([ENTRY, ENTRY | {"until": "2026-11-24T12:00:00"}], "history[1].until"),
        ([ENTRY | {"source": " "}], "history[0].source"),
        ([ENTRY | {"mode": "on"}], "history[0]"),
        ([ENTRY | {"mx": []}], "history[0]"),
        ([ENTRY | {"mx": "mx1.example.com"}], "history[0]"),
        ([ENTRY | {"mx": 3}], "history[0]"),
        ([ENTRY | {"max_age": -1}], "history[0]"),
    ],
)  # fmt: skip
def test_what_states_no_policy_is_refused(given: Any, path: str) -> None:
    """At its place, by the domain's own check too."""
    assert [path] == [found.path for found in check_history(given)]
    config = {"domain": "example.com", "mx": ["mx1.example.com"], "history": given}
    assert path in [found.path for found in check_domain(config)]
    with pytest.raises(MtaStsError):
        resolve_domain(config)


def test_it_is_held_until_its_id_is_replaced_and_its_max_age_over() -> None:
    """As what the bucket remembers: while the old id is visible without end, then a TTL, a fetch and its max_age."""
    stated = history_versions([ENTRY])
    ours = PolicyVersion("v1", {ID_METADATA: "new1"}, 10 * DAY, "version: STSv1\nmode: none\nmax_age: 86400\n")
    before = held_policies([ours, *stated], LiveId("old1", DAY, 3600), now=11 * DAY)
    assert {"old1": None, "new1": None} == {held.id: held.until for held in before}
    after = held_policies([ours, *stated], LiveId("new1", 12 * DAY, 300), now=13 * DAY)
    assert 12 * DAY + 300 + FETCH_SECONDS + 604_800 == {held.id: held.until for held in after}["old1"]
    assert ["new1"] == [held.id for held in held_policies([ours, *stated], LiveId("new1", 12 * DAY, 300), 30 * DAY)]


def test_two_bodies_under_one_id_are_both_held() -> None:
    """Edges differed: neither ends because of the other."""
    stated = history_versions([ENTRY, ENTRY | {"mx": ["mx2.example.com"]}])
    held = held_policies(stated, LiveId("old1", DAY, 300), now=90 * DAY)
    assert [None, None] == [one.until for one in held]


def test_an_end_that_is_stated_counts() -> None:
    """For a policy whose id had gone before anybody looked."""
    stated = history_versions([ENTRY, ENTRY | {"id": "older", "until": SEEN.isoformat()}])
    live = LiveId("old1", 0, 300)
    at = SEEN.timestamp()
    assert {"old1": None, "older": at} == {one.id: one.until for one in held_policies(stated, live, at - 1)}
    assert ["old1"] == [one.id for one in held_policies(stated, live, at)]
