"""The `id` of the `_mta-sts` record: what the served bytes are, and that it was never used before."""

from __future__ import annotations

import hashlib

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_CONTENT_LENGTH = 24
_USE_LENGTH = 8


def content_id(body: str | bytes) -> str:
    """Return 24 characters `[a-z0-9]` of a SHA-256 over the policy's bytes alone.

    Anybody can compute it from the served file and compare it with the start of the published id.
    """
    return _encode(_bytes(body), _CONTENT_LENGTH)


def is_own_id(identifier: str) -> bool:
    """Whether an id has the form of those that `policy_id` makes; others make ids as they like."""
    return len(identifier) == _CONTENT_LENGTH + _USE_LENGTH and set(identifier) <= set(_ALPHABET)


def policy_id(body: str | bytes, replaces: str, epoch: str | int | None = None) -> str:
    """Return the 32 characters to publish a body under: `content_id`, then 8 that make this use of it unique.

    `replaces` names what the body replaces: the VersionId of the object version, lacking one the live TXT id,
    lacking both the UTC day. A hash of the body alone would come back with a roll-back, and some sender holds
    another body under it (facts.md, discovery record).
    """
    use = f"{replaces}\n{'' if epoch is None else epoch}".encode()
    return content_id(body) + _encode(use, _USE_LENGTH)


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _encode(data: bytes, length: int) -> str:
    """Return the first characters of a SHA-256 in base 36: 24 hold 124 bits, and RFC 8461 §3.1 allows 32."""
    number = int.from_bytes(hashlib.sha256(data).digest())
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
