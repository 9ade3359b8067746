"""`mta-sts review --live`: what is found now makes a verdict worse, or fills a gap; it never excuses the plan."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.review.live import Live
from mta_sts.review.verdict import DomainReview, Grade, Review, review
from mta_sts.review.writers import to_json, to_text
from mta_sts.safety import Publication
from tests.mta_sts.small_plans import DAY, body, plan, policy, usual

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mta_sts.review.world import Domain

NOW = datetime(2026, 7, 1, tzinfo=UTC)
MX1, MX2 = "mx1.example.com", "mx2.example.com"
ONE = ("v=STSv1; id=one;",)
REPLACED = usual(hosts=((MX1,), (MX2,)))
AS_PLANNED = {"mx": frozenset([MX1]), "mx_ttl": 300, "texts": ONE, "txt_ttl": 300, "served": True, "body": body(MX1)}


def looked(steps: list[dict[str, Any]], **found: Any) -> Review:
    """Review a plan for whose domains this is published now."""

    def look(domains: Sequence[Domain]) -> Mapping[str, Live]:
        return {domain.name: Live(**found) for domain in domains}

    return review([plan(steps)], look)


def judged(steps: list[dict[str, Any]], **found: Any) -> DomainReview:
    """Review a plan that has one domain."""
    (domain,) = looked(steps, **found).domains
    return domain


@pytest.mark.parametrize(
    "found",
    [
        {"texts": ()},
        {"body": None},
        {"mx": frozenset()},
        {"mx": frozenset([MX2])},
        {"texts": (), "body": None, "ledger": ()},
        {"texts": None, "served": False, "mx": None},
    ],
    ids=["record gone", "policy host gone", "no mx", "new mx already", "a ledger without it", "nothing seen"],
)
def test_what_is_found_never_excuses_what_the_plan_shows(found: dict[str, Any]) -> None:
    """Another view of DNS, or a record taken away a moment ago: senders hold what the stack published all the same."""
    domain = judged(REPLACED, **(AS_PLANNED | found))
    assert (Grade.UNSAFE, "mx-not-in-held-policy") == (domain.grade, domain.reasons[0].rule)


def test_a_record_that_is_gone_already_may_not_be_deleted_either() -> None:
    """Senders that hold its policy lose it at the same moment."""
    domain = judged(usual(ids=("one", None)), **(AS_PLANNED | {"texts": ()}))
    assert (Grade.UNSAFE, "removed-while-held") == (domain.grade, domain.reasons[0].rule)


def test_what_was_changed_by_hand_is_judged_beside_what_the_stack_holds() -> None:
    """DNS has another host than the stack knows: the change must be safe with either."""
    steps = usual(policy(MX1, MX2), policy(MX1), ids=("one", "two"))
    assert Grade.SAFE is judged(steps, **(AS_PLANNED | {"body": body(MX1, MX2)})).grade
    domain = judged(steps, **(AS_PLANNED | {"body": body(MX1, MX2), "mx": frozenset([MX2])}))
    assert (Grade.UNSAFE, "policy-without-live-mx") == (domain.grade, domain.reasons[0].rule)


@pytest.mark.parametrize(
    "found", [{"texts": ()}, {"texts": ("v=STSv1; id=other;",)}, {"body": body(MX1, max_age=DAY)}, {"mx": frozenset()}]
)
def test_a_contradiction_without_a_ledger_could_not_be_told(found: dict[str, Any]) -> None:
    """Which of both senders hold, and since when, is not known."""
    steps = usual(new=policy(MX1, MX2), ids=("one", "two"))
    assert Grade.SAFE is judged(steps, **AS_PLANNED).grade
    domain = judged(steps, **(AS_PLANNED | found))
    assert (Grade.UNKNOWN, ["live-differs"]) == (domain.grade, [reason.rule for reason in domain.reasons])
    known = (Publication(body(MX1), "one", math.inf),)
    assert Grade.UNKNOWN is not judged(steps, **(AS_PLANNED | found | {"ledger": known})).grade


def test_an_unread_ledger_is_an_assumption_and_not_an_empty_one() -> None:
    """Without AWS access the line stays that says what is assumed of the past."""
    steps = usual(new=policy(MX1, MX2), ids=("one", "two"))
    unread = looked(steps, **AS_PLANNED)
    assert "could not be read: judged as if" in to_text(unread, NOW)
    read = looked(steps, **AS_PLANNED, ledger=(Publication(body(MX1), "one", math.inf),))
    assert "judged as if" not in to_json(read, NOW).lower()
    assert [] == read.assumptions
