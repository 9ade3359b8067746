"""Fetching a policy: as strict as a sender, one cause for each fault, and never without end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from mta_sts import Mode, MtaStsError, Policy
from mta_sts.fetch import FetchCause, FetchedPolicy, FetchError, fetch_policy, fetch_policy_async, tls_context
from tests.conftest import vector_parameters
from tests.mta_sts.policy_server import FAR_FUTURE, FUTURE, LONG_AGO, PAST, Answer, Authority, policy_server, response

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 86400\n"
HOST = "mta-sts.example.com"
NEVER = 30.0
"""Seconds: longer than any answer here takes."""
SHORT = 0.3
"""Seconds: for hosts that never come to an end."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that the fetches of this module trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> Callable[[], ssl.SSLContext]:
    """Return a maker of contexts with a certificate for the policy host."""
    return lambda: authority.server([HOST])


def fetched(
    authority: Authority,
    context: ssl.SSLContext | None,
    answer: Answer,
    *,
    domain: str = "example.com",
    limit: float = NEVER,
) -> FetchedPolicy:
    """Fetch once from a host with this certificate and answer."""

    async def scenario() -> FetchedPolicy:
        async with policy_server(context, answer) as host:
            trusted = tls_context(authority.ca_file)
            return await fetch_policy_async(domain, "127.0.0.1", host.port, context=trusted, limit=limit)

    return asyncio.run(scenario())


def cause_of(*arguments: Any, **options: Any) -> FetchCause:
    """Fetch, expecting a refusal; return its cause."""
    with pytest.raises(FetchError) as caught:
        fetched(*arguments, **options)
    (finding,) = caught.value.findings
    assert f"fetch-{caught.value.cause}" == finding.rule
    return caught.value.cause


@pytest.mark.parametrize("content_type", ["text/plain", "Text/PLAIN; charset=utf-8", "text/plain ;x=y"])
@pytest.mark.parametrize("names", [[HOST], ["other.example", "*.example.com"]])
def test_a_served_policy_is_returned(authority: Authority, names: list[str], content_type: str) -> None:
    """Status 200, text/plain in any case with any parameter, and a SAN for the policy host give the policy."""
    result = fetched(authority, authority.server(names), response(BODY, content_type=content_type))
    assert Policy("STSv1", Mode.ENFORCE, ("mail.example.com",), 86400) == result.policy
    assert (BODY, content_type) == (result.body, result.content_type)
    san = x509.load_der_x509_certificate(result.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names == san.value.get_values_for_type(x509.DNSName)


def test_the_policy_host_is_asked_by_its_own_name(authority: Authority) -> None:
    """The address is given; SNI and Host are `mta-sts.` and the domain in A-labels (RFC 8461 §3.3)."""
    name = "mta-sts.xn--bcher-kva.example"

    async def scenario() -> None:
        async with policy_server(authority.server([name]), response(BODY)) as host:
            trusted = tls_context(authority.ca_file)
            await fetch_policy_async("BÜCHER.example.", "127.0.0.1", host.port, context=trusted)
            assert [name] == host.server_names
            line, *headers = host.requests[0].decode().split("\r\n")
            assert "GET /.well-known/mta-sts.txt HTTP/1.1" == line
            assert {f"Host: {name}", "Accept-Encoding: identity"} <= set(headers)

    asyncio.run(scenario())


def test_synchronous_code_can_fetch(authority: Authority, good: Callable[[], ssl.SSLContext]) -> None:
    """`fetch_policy` is the same for callers without an event loop."""

    async def scenario() -> FetchedPolicy:
        async with policy_server(good(), response(BODY)) as host:
            trusted = tls_context(authority.ca_file)
            return await asyncio.to_thread(fetch_policy, "example.com", "127.0.0.1", host.port, context=trusted)

    assert asyncio.run(scenario()).body == BODY


def test_many_fetches_run_at_once(authority: Authority, good: Callable[[], ssl.SSLContext]) -> None:
    """No fetch waits for another: the host answers nobody before all have asked."""
    many = 40

    async def scenario() -> list[FetchedPolicy]:
        async with policy_server(good(), response(BODY), together=many) as host:
            trusted = tls_context(authority.ca_file)
            fetches = (
                fetch_policy_async("example.com", "127.0.0.1", host.port, context=trusted, limit=NEVER)
                for _ in range(many)
            )
            return await asyncio.gather(*fetches)

    assert [BODY] * many == [result.body for result in asyncio.run(scenario())]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (response(b"", status=301, headers=["Location: https://www.example.com/"]), FetchCause.REDIRECT),
        (response(BODY, status=302), FetchCause.REDIRECT),
        (response(BODY, status=304), FetchCause.REDIRECT),
        (response(BODY, status=404), FetchCause.STATUS),
        (response(BODY, status=202), FetchCause.STATUS),
        (response(BODY, status=503), FetchCause.STATUS),
        (response(BODY, content_type="text/html"), FetchCause.MEDIA_TYPE),
        (response(BODY, content_type="text/plainer"), FetchCause.MEDIA_TYPE),
        (response(BODY, content_type=None), FetchCause.MEDIA_TYPE),
        (response(BODY, headers=["Content-Encoding: gzip"]), FetchCause.CONTENT_ENCODING),
        (response(BODY + b"x: " + b"y" * 64_000 + b"\n"), FetchCause.TOO_LARGE),
        (response(b"nonsense"), FetchCause.POLICY),
        (response(b""), FetchCause.POLICY),
        (Answer(), FetchCause.HTTP),
        (Answer(b"SSH-2.0-x\r\n\r\n"), FetchCause.HTTP),
        (Answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nshort"), FetchCause.HTTP),
        (Answer(b"HTTP/1.1 101 Switching\r\n\r\n"), FetchCause.HTTP),
        (Answer(b"HTTP/1.1 200 OK\r\n", again=b"X-Header: x\r\n" * 100), FetchCause.HTTP),
        (Answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", again=b"x" * 1000), FetchCause.TOO_LARGE),
        # A refused answer is refused at its head: the reason is its status, not that it has no end.
        (Answer(b"HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\n", hold=True), FetchCause.STATUS),
        (Answer(b"HTTP/1.1 301 Moved\r\n\r\n", again=b"x" * 1000), FetchCause.REDIRECT),
    ],
)
def test_an_answer_that_senders_refuse_has_one_cause(
    authority: Authority, good: Callable[[], ssl.SSLContext], answer: Answer, cause: FetchCause
) -> None:
    """RFC 8461 §3.3: 200 only, no redirect, text/plain, of limited size, and a whole valid policy."""
    assert cause is cause_of(authority, good(), answer)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hold=True),
        Answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nversion: STSv1\n", hold=True),
        Answer(again=b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=["silent", "half a body", "endless early hints"],
)
def test_an_endless_answer_ends_at_the_limit(
    authority: Authority, good: Callable[[], ssl.SSLContext], answer: Answer
) -> None:
    """The limit is for the whole fetch, whatever trickles in."""
    assert FetchCause.TIMEOUT is cause_of(authority, good(), answer, limit=SHORT)


def test_a_handshake_that_never_begins_ends_at_the_limit(authority: Authority) -> None:
    """A port that accepts and says nothing is a timeout too."""
    assert FetchCause.TIMEOUT is cause_of(authority, None, Answer(hold=True), limit=SHORT)


def test_a_port_without_tls_is_named(authority: Authority) -> None:
    """Plain HTTP where TLS belongs is a TLS fault."""
    assert FetchCause.TLS is cause_of(authority, None, response(BODY))


def test_nobody_there_is_named(authority: Authority) -> None:
    """A refused connection is no fault of certificate or policy."""
    with socket.socket() as bound:  # bound and not listening: the port is ours, and refuses
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(FetchError) as caught:
            fetch_policy("example.com", "127.0.0.1", bound.getsockname()[1], context=tls_context(authority.ca_file))
    assert FetchCause.UNREACHABLE is caught.value.cause
    assert "(Connection refused)" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "options", "cause"),
    [
        (["example.com", "www.example.com"], {}, FetchCause.CERTIFICATE_NAME),
        (["*.mta-sts.example.com"], {}, FetchCause.CERTIFICATE_NAME),
        (["mta-*.example.com"], {}, FetchCause.CERTIFICATE_NAME),
        ([], {"common_name": HOST}, FetchCause.CERTIFICATE_NAME),
        ([HOST], {"valid": (LONG_AGO, PAST)}, FetchCause.CERTIFICATE_EXPIRED),
        ([HOST], {"valid": (FUTURE, FAR_FUTURE)}, FetchCause.CERTIFICATE_NOT_YET_VALID),
    ],
    ids=["other names", "deeper wildcard", "partial wildcard", "common name only", "expired", "not yet valid"],
)
def test_a_certificate_that_senders_refuse_has_one_cause(
    authority: Authority, names: list[str], options: dict[str, Any], cause: FetchCause
) -> None:
    """A dNSName of a certificate that is valid now must name the policy host (RFC 8461 §3.3)."""
    assert cause is cause_of(authority, authority.server(names, **options), response(BODY))


def test_old_tls_is_not_spoken() -> None:
    """TLS 1.2 is the least that large senders speak."""
    assert ssl.TLSVersion.TLSv1_2 <= tls_context().minimum_version


def test_an_unknown_authority_is_named(authority: Authority, good: Callable[[], ssl.SSLContext], tmp_path: Any) -> None:
    """A chain to a root that is not trusted, and the public roots do not know ours."""
    assert FetchCause.CERTIFICATE_UNTRUSTED is cause_of(Authority(tmp_path), good(), response(BODY))

    async def scenario() -> None:
        async with policy_server(good(), response(BODY)) as host:
            await fetch_policy_async("example.com", "127.0.0.1", host.port)

    with pytest.raises(FetchError) as caught:
        asyncio.run(scenario())
    assert FetchCause.CERTIFICATE_UNTRUSTED is caught.value.cause


def test_a_domain_that_is_none_is_never_asked_for() -> None:
    """A wrong name is refused before any connection."""
    with pytest.raises(MtaStsError, match="URL"):
        fetch_policy("https://example.com/", "127.0.0.1", 1)


def expected_cause(vector: dict[str, Any]) -> FetchCause | None:
    """Return the cause that a vector's answer has for us, None for a policy."""
    tls = {"expired": FetchCause.CERTIFICATE_EXPIRED, "self-signed": FetchCause.CERTIFICATE_UNTRUSTED}
    checks = (
        ("tls" in vector, tls.get(vector.get("tls", ""), FetchCause.CERTIFICATE_NAME)),
        (vector["status"] is None, FetchCause.TIMEOUT),
        (vector["status"] in range(300, 400), FetchCause.REDIRECT),
        (vector["status"] != 200, FetchCause.STATUS),
        ("text/plain" not in (vector["content_type"] or "").lower(), FetchCause.MEDIA_TYPE),
        ("body_bytes" in vector, FetchCause.TOO_LARGE),
    )
    return next((cause for found, cause in checks if found), None)


@pytest.mark.parametrize("vector", vector_parameters("http_fetch.json"))
def test_fetches_of_other_projects(authority: Authority, vector: dict[str, Any], tmp_path: Any) -> None:
    """Refuse what other projects refuse.

    Judged: three of them take a wrong or missing Content-Type with a warning; we refuse it, as six senders do,
    because what one large sender refuses must not pass a check.
    """
    tls = vector.get("tls", "")
    issuer = Authority(tmp_path) if tls == "self-signed" else authority
    names = ["elsewhere.example"] if "for" in tls else [HOST]
    context = issuer.server(names, valid=(LONG_AGO, PAST if tls == "expired" else FAR_FUTURE))
    body = (vector["body"] or BODY.decode()).encode()
    if "body_bytes" in vector:
        body += b"x: " + b"y" * (vector["body_bytes"] - len(body) - 4) + b"\n"
    if vector["status"] is None:
        answer = Answer(hold=True)
    else:
        location = [f"Location: {vector['location']}"] if "location" in vector else []
        answer = response(body, status=vector["status"], content_type=vector["content_type"], headers=location)
    cause = expected_cause(vector)
    assert vector["usable"] is (cause is None) or "warning" in vector["why"]
    if cause is None:
        assert body == fetched(authority, context, answer).body
    else:
        assert cause is cause_of(authority, context, answer, limit=SHORT if vector["status"] is None else NEVER)
