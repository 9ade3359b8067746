"""The ledger: which policies senders may still hold, from the versions of the policy object and the live record."""

from __future__ import annotations

from mta_sts import Mode, Policy, policy_id, render_policy
from mta_sts.ledger import (
    FETCH_SECONDS,
    ID_METADATA,
    LIVE_METADATA,
    LONGEST_MAX_AGE,
    STATED_METADATA,
    TXT_TTL_METADATA,
    LiveId,
    PolicyVersion,
    enforced_until,
    held_policies,
    known_from,
    next_id,
    unknown_until,
)

DAY = 86_400


def version(number: int, host: str, max_age: int, noted: LiveId | None = None) -> PolicyVersion:
    """Return a version with the id `id<number>`, written at day `number`."""
    body = render_policy(Policy("STSv1", Mode.ENFORCE, (host,), max_age)).decode()
    metadata = {ID_METADATA: f"id{number}"} | ({LIVE_METADATA: str(noted)} if noted else {})
    return PolicyVersion(f"v{number}", metadata, number * DAY, body)


FIRST = version(1, "mx1.example.com", 10 * DAY)
SECOND = version(3, "mx2.example.com", DAY, LiveId("id1", DAY, 300))
THIRD = version(5, "mx3.example.com", DAY, LiveId("id3", 3 * DAY, 300))


def until(held: list[object], number: int) -> float | None:
    """Return until when the version with that number may be held; raises StopIteration where it can't be."""
    return next(one.until for one in held if one.id == f"id{number}")  # type: ignore[attr-defined]


def test_a_policy_is_held_as_long_as_its_id_is_visible() -> None:
    """Renewing senders keep it for ever, so a visible id has no end."""
    held = held_policies([FIRST], LiveId("id1", DAY, 300), now=400 * DAY)
    assert [("id1", None)] == [(one.id, one.until) for one in held]


def test_the_end_counts_from_when_the_id_went() -> None:
    """Last moment visible + TTL + fetch + that body's own max_age, whatever the new one's is."""
    held = held_policies([SECOND, FIRST], LiveId("id3", 3 * DAY, 300), now=4 * DAY)
    assert 3 * DAY + 300 + FETCH_SECONDS + 10 * DAY == until(held, 1)
    assert until(held, 3) is None


def test_the_ttl_that_an_id_had_counts_and_not_the_shorter_one_of_the_record_after_it() -> None:
    """In one update: caches go on with the old record for the old TTL, and only then is the new id known."""
    second = version(3, "mx2.example.com", DAY, LiveId("id1", DAY, DAY))
    live = LiveId("id3", 3 * DAY, 60)
    assert 3 * DAY + DAY + FETCH_SECONDS + 10 * DAY == until(held_policies([second, FIRST], live, 4 * DAY), 1)
    assert 3 * DAY + DAY + FETCH_SECONDS == known_from([second, FIRST], live)
    # The first id came from elsewhere, and only the note tells of it.
    assert 3 * DAY + DAY + FETCH_SECONDS == known_from([second], live)
    assert 3 * DAY + 60 + FETCH_SECONDS == known_from([version(3, "mx2.example.com", DAY)], live)


def test_a_ttl_that_was_lowered_under_the_same_id_ends_when_caches_have_forgotten_it() -> None:
    """Lowering it first, and waiting, makes a change quicker; not waiting does not."""
    first = PolicyVersion("v1", FIRST.metadata | {TXT_TTL_METADATA: str(DAY)}, DAY, FIRST.body)
    for lowered, shown in ((3 * DAY - 100, 4 * DAY - 100), (DAY, 3 * DAY + 60)):
        second = version(3, "mx2.example.com", DAY, LiveId("id1", lowered, 60))
        held = held_policies([second, first], LiveId("id3", 3 * DAY, 60), 4 * DAY)
        assert shown + FETCH_SECONDS + 10 * DAY == until(held, 1)


def test_bytes_replaced_while_the_old_id_is_still_visible_end_nothing() -> None:
    """An update that stopped between object and record leaves both policies held."""
    held = held_policies([SECOND, FIRST], LiveId("id1", DAY, 300), now=4 * DAY)
    assert (None, None) == (until(held, 3), until(held, 1))


def test_later_changes_do_not_lengthen_earlier_ends() -> None:
    """What a later version noted of the record bounds the earlier ids, however often the record changed since."""
    held = held_policies([THIRD, SECOND, FIRST], LiveId("id5", 5 * DAY, 300), now=6 * DAY)
    assert 3 * DAY + 300 + FETCH_SECONDS + 10 * DAY == until(held, 1)
    assert 5 * DAY + 300 + FETCH_SECONDS + DAY == until(held, 3)


def test_what_has_ended_is_not_held() -> None:
    """After the last end only the visible policy is left."""
    held = held_policies([THIRD, SECOND, FIRST], LiveId("id5", 5 * DAY, 300), now=30 * DAY)
    assert ["id5"] == [one.id for one in held]


def test_what_nothing_bounds_counts_as_held() -> None:
    """A record that is gone, or that shows a foreign id, bounds nothing."""
    for live in (None, LiveId("foreign", 9 * DAY, 300)):
        held = held_policies([SECOND, FIRST], live, now=400 * DAY)
        assert (None, None) == (until(held, 3), until(held, 1))


def test_an_id_that_no_version_has_stands_for_a_policy_of_the_longest_max_age() -> None:
    """Versions were lost, or nobody said what stood before: its end is known only once another id was seen."""
    last = 5 * DAY + 300 + FETCH_SECONDS + LONGEST_MAX_AGE
    live = LiveId("id5", 5 * DAY, 300)
    assert last == unknown_until([THIRD, FIRST], live)
    bodiless = PolicyVersion("v5", THIRD.metadata)
    assert (last, 0) == (enforced_until([bodiless], live, last - 1), enforced_until([bodiless], live, last))
    assert unknown_until([THIRD, SECOND, FIRST], LiveId("foreign", 6 * DAY, 300)) is None
    assert unknown_until([], live) is None
    assert 0 == unknown_until([], None)


def test_what_history_once_stated_of_an_id_bounds_it_when_it_is_taken_out() -> None:
    """Its longest max_age in enforce; a policy that only tested binds nobody."""
    live = LiveId("id5", 5 * DAY, 300)
    for stated, expected in ((DAY, 5 * DAY + 300 + FETCH_SECONDS + DAY), (0, 0)):
        third = PolicyVersion("v5", THIRD.metadata | {STATED_METADATA: str(stated)}, 5 * DAY, THIRD.body)
        assert expected == unknown_until([third], live)


def test_a_live_id_survives_the_round_trip() -> None:
    """What a version notes can be read back; anything else is no note."""
    noted = LiveId("abc", 1_700_000_000, 300)
    assert noted == LiveId.parse(str(noted))
    assert LiveId.parse("") is None
    assert LiveId.parse("a b c") is None


def test_an_id_is_kept_for_the_same_bytes_and_never_comes_back() -> None:
    """While the newest version holds the wanted body and epoch its id stays; any other body or epoch gets a new one."""
    body = b"body"
    first = policy_id(body, "2026-01-01")
    newest = PolicyVersion("v1", {ID_METADATA: first})
    assert first == next_id(body, newest, None, "unused")
    ids = {first, next_id(b"other", newest, None, ""), next_id(body, newest, "2", "")}
    back = PolicyVersion("v2", {ID_METADATA: next_id(b"other", newest, None, "")})
    ids.add(next_id(body, back, None, ""))
    assert 4 == len(ids)
