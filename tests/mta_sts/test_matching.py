"""MX hosts against patterns, certificates against hosts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_sts import certificate_matches, mx_matches
from tests.conftest import vector_parameters


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("mail.example.com", "mail.example.com", True),
        ("mail.example.com", "MAIL.Example.com.", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),  # RFC 8461 §4.1: exactly one label
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.bücher.example", "mx.xn--bcher-kva.example", True),
        ("a.*.com", "a.example.com", False),
        ("*", "example", False),
        ("", "", False),
    ],
)
def test_a_pattern_allows_a_host_or_not(pattern: str, host: str, expected: bool) -> None:
    """Names are compared as A-labels, in any case, without trailing dot; `*.` is one label (RFC 8461 §4.1)."""
    assert expected is mx_matches(pattern, host)


def test_no_name_matches_nothing() -> None:
    """An MX that could not be read is no host."""
    assert not mx_matches("mx.example.com", None)  # type: ignore[arg-type]


def test_a_certificate_speaks_through_its_sans_only() -> None:
    """One dNSName must cover the host; an address never matches (RFC 8461 §4.2)."""
    assert certificate_matches(["other.example", "*.example.com"], "mx.example.com")
    assert not certificate_matches([], "mx.example.com")
    assert not certificate_matches(["192.0.2.1"], "192.0.2.1")


@given(st.text(), st.text())
def test_matching_never_raises(pattern: str, host: str) -> None:
    """Served text and DNS data may be anything."""
    mx_matches(pattern, host)


@pytest.mark.parametrize("vector", vector_parameters("mx_match.json"))
def test_patterns_of_other_projects(vector: dict[str, Any]) -> None:
    """Match as RFC 8461 §4.1 says; `eff-009` (a leading dot) is an older draft's form and does not."""
    host = "x" * 65_536 + "\uff00" if vector["host"] is None else vector["host"]
    assert vector["rfc"] is any(mx_matches(pattern, host) for pattern in vector["patterns"])


@pytest.mark.parametrize("vector", vector_parameters("cert_san.json", "san_match"))
def test_certificates_of_other_projects(vector: dict[str, Any]) -> None:
    """Match as RFC 8461 §4.2 says: a common name alone (`py-001`) is not enough."""
    assert vector["rfc_expected"] is certificate_matches(vector["san_dns"] or [], vector["host"])
