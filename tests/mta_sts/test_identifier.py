"""Ids: what the bytes are, and that this use of them is new."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from mta_sts import content_id, policy_id


def test_the_content_id_is_recomputable_from_the_bytes() -> None:
    """24 base-36 digits of the SHA-256, least significant first: fixed, because published ids depend on it."""
    number = int(hashlib.sha256(b"version: STSv1\n").hexdigest(), 16)
    digits = ""
    for _ in range(24):
        number, digit = divmod(number, 36)
        digits += "0123456789abcdefghijklmnopqrstuvwxyz"[digit]
    assert digits == content_id(b"version: STSv1\n") == content_id("version: STSv1\n")


@given(st.binary(), st.text(), st.one_of(st.none(), st.text()))
def test_every_id_is_one_that_all_senders_take(body: bytes, replaces: str, epoch: str | None) -> None:
    """32 letters and digits (RFC 8461 §3.1 allows 1 to 32), beginning with the content id."""
    identifier = policy_id(body, replaces, epoch)
    assert re.fullmatch("[a-z0-9]{32}", identifier)
    assert identifier.startswith(content_id(body))


def test_the_same_body_gets_a_new_id_for_a_new_use() -> None:
    """What it replaces and the epoch each change the id; the same inputs give the same one, so a plan is stable."""
    ids = {policy_id(b"body", replaces, epoch) for replaces in ("v1", "v2") for epoch in (None, "1", "2")}
    assert 6 == len(ids)
    assert policy_id(b"body", "v1") == policy_id(b"body", "v1")
    assert policy_id(b"body", "v1", 0) != policy_id(b"body", "v1")
    assert policy_id(b"body", "v1", 2) == policy_id(b"body", "v1", "2")
