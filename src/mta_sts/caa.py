"""CAA: who may issue the policy host's certificate (RFC 8659)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CERTIFICATE_ISSUERS = ("amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com")
"""CAA values that let ACM issue (AWS Certificate Manager documentation, "Configure a CAA record")."""


def stopping(records: Iterable[str]) -> list[str]:
    """Return which of the CAA records that count for a name stop ACM; none where it may issue (RFC 8659 §4.2).

    `records` are in presentation form: `0 issue "amazon.com; parameters"`.
    """
    issue = [record for record in records if caa_property(record)[0] == "issue"]
    return [] if any(caa_property(record)[1] in CERTIFICATE_ISSUERS for record in issue) else issue


def caa_property(record: str) -> tuple[str, str]:
    """Return tag and issuer of a record in presentation form (RFC 8659 §4.1)."""
    _, tag, value, *_ = [*record.split(None, 2), "", "", ""]
    return tag.lower(), value.strip('"').split(";")[0].strip().lower()
