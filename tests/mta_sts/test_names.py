"""Host names: one spelling for each, and a reason where there is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_sts import MtaStsError, normalise_host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx1.example.com", "mx1.example.com"),
        (" MX1.Example.COM. ", "mx1.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("例え。jp。", "xn--r8jz45g.jp"),  # full stops of another script (RFC 5895 §2)
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_a_name_has_one_spelling(text: str, expected: str) -> None:
    """A-labels, lower case, no trailing dot, no white space around it."""
    assert expected == normalise_host(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (".", "empty"),
        ("postmaster@example.com", "e-mail address"),
        ("https://example.com/", "URL"),
        ("example.com:443", "port"),
        ("192.0.2.1", "IP address"),
        ("[192.0.2.1]", "IP address"),
        ("2001:db8::1", "IP address"),
        ("[IPv6:2001:db8::1]", "IP address"),
        ("192.0.2.300", "IP address"),
        ("a..example", "label ''"),
        ("example.com..", "label ''"),
        ("-a.example", "label '-a'"),
        ("mx_1.example", "label 'mx_1'"),
        ("a b.example", "label 'a b'"),
        ("a" * 64 + ".example", "1 to 63"),
        (".".join(["a" * 50] * 5), "254 characters"),
    ],
)
def test_what_is_no_host_name_is_refused_with_the_reason(text: str, reason: str) -> None:
    """The message says what was given instead of a host name."""
    with pytest.raises(MtaStsError) as caught:
        normalise_host(text)
    (finding,) = caught.value.findings
    assert "host-name" == finding.rule
    assert reason in finding.message


@given(st.text() | st.from_regex(r"\A(\*\.)?[A-Za-zä-ü0-9-]{1,9}(\.|。)[a-z]{2}\.?\Z"))
def test_any_text_is_normalised_or_refused(text: str) -> None:
    """What is returned is a host name that does not change again."""
    try:
        name = normalise_host(text)
    except MtaStsError:
        return
    assert re.fullmatch(r"[a-z0-9.-]{1,253}", name)
    assert name == normalise_host(name)
