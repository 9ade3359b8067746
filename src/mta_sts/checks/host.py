"""Judge the policy host: its addresses, certificate, answers, and the policy that it serves."""

from __future__ import annotations

import ipaddress
import ssl
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from mta_sts.caa import CERTIFICATE_ISSUERS, caa_property
from mta_sts.checks.certificates import OLD_VERSIONS, described, judge_ends, names_of, organisation_of, untrusted
from mta_sts.checks.lookup import NO_ROUTE, Failure
from mta_sts.checks.observe import BROWSER
from mta_sts.checks.records import from_wildcard, lookup_failures
from mta_sts.checks.report import Area, Kind, Point
from mta_sts.fetch import WELL_KNOWN, FetchCause
from mta_sts.findings import MtaStsError
from mta_sts.policy import Mode, check_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from mta_sts.checks.lookup import Reach
    from mta_sts.checks.observe import Fetched, Seen
    from mta_sts.fetch import FetchError
    from mta_sts.findings import Finding

_MEND = {
    FetchCause.UNREACHABLE: "start the service, or correct the address record",
    FetchCause.TIMEOUT: "senders give up after a minute: see why it hangs",
    FetchCause.CERTIFICATE_EXPIRED: "renew the certificate, and see why that did not happen by itself",
    FetchCause.CERTIFICATE_NOT_YET_VALID: "use the former certificate until then, or set the clock right",
    FetchCause.CERTIFICATE_NAME: "get a certificate whose subjectAltName has {host}",
    FetchCause.CERTIFICATE_UNTRUSTED: "use a certificate of a public authority",
    FetchCause.TLS: "offer TLS 1.2 or 1.3 with a certificate for {host}",
    FetchCause.REDIRECT: "senders must not follow it (RFC 8461 §3.3): serve the policy there itself",
    FetchCause.STATUS: "serve the policy there with status 200",
    FetchCause.MEDIA_TYPE: "set `Content-Type: text/plain`",
    FetchCause.CONTENT_ENCODING: "switch compression off for this path",
    FetchCause.TOO_LARGE: "serve the policy and nothing else",
    FetchCause.HTTP: "see the server's log: it answered the handshake, then not the request",
    FetchCause.POLICY: "serve a valid policy (`mta-sts lint FILE` says what is wrong)",
}
_NOTHING_OF_A_POLICY = {"version-missing", "mode-missing", "max-age-missing"}
_MOST_ALIKE = 5
"""Lines of a served policy that are named with the same fault."""
_ENFORCE_AGE = 1_209_600
"""Seconds: RFC 8461 §3.2 expects weeks, and NCSC asks for two where a policy is enforced."""
_AUTHORITIES = {
    "Amazon": CERTIFICATE_ISSUERS,
    "Let's Encrypt": ("letsencrypt.org",),
    "Google Trust Services": ("pki.goog",),
    "DigiCert Inc": ("digicert.com",),
    "Sectigo Limited": ("sectigo.com", "comodoca.com"),
    "ZeroSSL": ("sectigo.com",),
}
"""CAA values by the organisation that a certificate's issuer names; an authority that is not here is not judged."""


def judge_host(seen: Seen, now: datetime, reach: Reach) -> Iterator[Point]:
    """Judge how the policy is served (RFC 8461 §3.3)."""
    if seen.host is None or from_wildcard(seen):
        return
    yield from lookup_failures(Area.HOST, seen.host)
    if seen.host.failure:
        return
    if not seen.host.values:
        if seen.host.cnames or (seen.sts is not None and seen.sts.values):
            leads = f" (it leads to {seen.host.cnames[-1]})" if seen.host.cnames else ""
            message = (
                f"has no address{leads}, so senders can't fetch the policy; let it name, by CNAME or address, the host "
                "that serves the policy"
            )
            yield Point(Area.HOST, Kind.ERROR, "policy-host-without-address", seen.host.name, message)
        return
    if seen.fetched is None:
        return
    anonymous = [one for one in seen.fetched if not one.agent]
    named = [one for one in seen.fetched if one.agent]
    yield from _agents(seen, anonymous, named)
    if any(one.served for one in anonymous) or not any(one.served for one in named):
        yield from _addresses(seen, anonymous, reach)
    alike = [one.address for one in anonymous if one.served and seen.served and one.served.body == seen.served.body]
    others = [one.address for one in anonymous if one.served and one.address not in alike]
    if others:
        message = (
            f"{', '.join(others)} serves another policy than {', '.join(alike)} under one id, and senders keep "
            "whichever they got; empty the caches, then publish a new id"
        )
        yield Point(Area.HOST, Kind.ERROR, "addresses-differ", seen.host.name, message)
    served = [(one.address, one.served.certificate) for one in anonymous if one.served]
    yield from judge_ends(Area.HOST, seen.host.name, served, now)
    yield from _caa(seen, seen.served.certificate if seen.served else b"")


def _agents(seen: Seen, anonymous: Sequence[Fetched], named: Sequence[Fetched]) -> Iterator[Point]:
    """Judge whether the answer depends on who asks: bot rules are a known cause of failed fetches."""
    first = next((one.served for one in anonymous if one.served), None)
    name = f"mta-sts.{seen.domain}"
    mend = f"take {WELL_KNOWN} out of the bot rules"
    admitted = [one for one in named if one.served]
    if first is None and admitted:
        one = admitted[0]  # as ourselves, else as a browser
        refused = next(each for each in anonymous if each.address == one.address)
        got = _detail(refused.error, name, one.address)
        whom = "whoever is no browser" if one.agent == BROWSER else "who sends no user agent"
        yield Point(Area.HOST, Kind.ERROR, "bot-wall", name, f"turns away {whom} ({got}), as senders are; {mend}")
    for one in named if first else ():
        if one.error or (one.served and first and one.served.body != first.body):
            got = _detail(one.error, name, one.address) if one.error else "another body"
            message = f"gives the user agent {one.agent!r} {got}; {mend}"
            yield Point(Area.HOST, Kind.ERROR, "bot-wall", name, message)


def _addresses(seen: Seen, anonymous: Sequence[Fetched], reach: Reach) -> Iterator[Point]:
    """Judge each address; the same fault at several of them is one point."""
    host = f"mta-sts.{seen.domain}"
    good = [one.address for one in anonymous if one.served]
    unrouted = [one.address for one in anonymous if _no_route(one, reach)]
    if unrouted:
        kind = Kind.NOTE if len(unrouted) < len(anonymous) else Kind.SKIPPED
        message = (
            f"{', '.join(unrouted)} can't be reached from this machine; check it from one that has this address family"
        )
        yield Point(Area.HOST, kind, "no-route", host, message)
    groups: dict[tuple[str, str], list[Fetched]] = {}
    for one in anonymous:
        if one.error and one.address not in unrouted:
            shown = described(one.certificate) if one.certificate and one.version not in OLD_VERSIONS else ""
            detail = ": ".join(filter(None, (_detail(one.error, host, one.address), shown)))
            groups.setdefault((one.error.cause, detail), []).append(one)
    for (_, detail), group in groups.items():
        at = ", ".join(one.address for one in group)
        family = _family(group, good)
        if family:
            message = f"only {family} ({at}) is broken: {detail}; put it right there, or remove the address record"
            yield Point(Area.HOST, Kind.ERROR, f"fetch-only-{family.lower()}-broken", host, message)
        else:
            yield from _fault(group[0], host, detail, f" at {at}" if good else "", good)


def _no_route(one: Fetched, reach: Reach) -> bool:
    cause = one.error.__cause__ if one.error else None
    return (isinstance(cause, OSError) and cause.errno in NO_ROUTE) or (one.unreached and reach.no_route(one.address))


def _family(bad: Sequence[Fetched], good: Sequence[str]) -> str:
    """Return the address family that is broken where the other one works."""
    versions = {ipaddress.ip_address(one.address).version for one in bad}
    if not good or len(versions) != 1 or versions & {ipaddress.ip_address(address).version for address in good}:
        return ""
    return f"IPv{versions.pop()}"


def _fault(one: Fetched, host: str, detail: str, at: str, good: Sequence[str]) -> Iterator[Point]:
    error = one.error
    if error is None:
        return
    mend = _MEND[error.cause].format(host=host)
    rule = f"fetch-{error.cause}"
    if one.version in OLD_VERSIONS and error.cause is FetchCause.TLS:
        rule, detail, mend = "fetch-tls-version", f"speaks no TLS 1.2, only {one.version}", "switch TLS 1.2 and 1.3 on"
    if error.cause is FetchCause.CERTIFICATE_UNTRUSTED and isinstance(error.__cause__, ssl.SSLCertVerificationError):
        token, mend = untrusted(error.__cause__.verify_code, mend)
        rule = f"fetch-{token}"
    if error.cause is FetchCause.POLICY and isinstance(error.__cause__, MtaStsError):
        yield from _no_policy(error.__cause__.findings, f"https://{host}{at}")
    else:
        others = f" ({', '.join(good)} serves the policy)" if good else ""
        yield Point(Area.HOST, Kind.ERROR, rule, f"{host}{at}", f"{detail}{others}; {mend}")


def _no_policy(findings: Sequence[Finding], url: str) -> Iterator[Point]:
    """Return the parser's own reasons, which carry their way out; one for a page that is something else altogether."""
    if {found.rule for found in findings} >= _NOTHING_OF_A_POLICY:
        message = (
            f"what is served is no policy: {findings[0].message.partition(';')[0]}; serve a text that begins with "
            "`version: STSv1`"
        )
        yield Point(Area.POLICY, Kind.ERROR, "no-policy", url, message)
        return
    alike = Counter(found.rule for found in findings)
    shown: Counter[str] = Counter()
    for found in findings:
        shown[found.rule] += 1
        left = alike[found.rule] - shown[found.rule]
        if shown[found.rule] <= _MOST_ALIKE:
            more = f" (and {left} more of this kind)" if shown[found.rule] == _MOST_ALIKE and left else ""
            yield Point.of(Area.POLICY, replace(found, message=found.message + more), url)


def _detail(error: FetchError | None, host: str, address: str) -> str:
    """Return what went wrong, without the place and the way out, which stand before and after it."""
    if error is None:
        return ""
    text = error.findings[0].message.replace(f" at {address}", "")
    text = text.removeprefix(f"https://{host}{WELL_KNOWN}").removeprefix(host)
    return text.partition(";")[0].lstrip(": ").rstrip(". ")


def _caa(seen: Seen, certificate: bytes) -> Iterator[Point]:
    """Warn where CAA would stop the authority of the present certificate from renewing it (RFC 8659)."""
    if seen.caa is None:
        return
    host = f"mta-sts.{seen.domain}"
    if seen.caa.failure:
        if any(one and one.failure and one.name == seen.caa.name for one in (seen.mx, seen.apex)):
            return  # the whole name fails, which is said already
        message = (
            f"CAA can't be looked up ({seen.caa.failure.upper()}), and authorities then issue nothing for {host} "
            f"(RFC 8659 §3); see what `dig +trace CAA {seen.caa.name}` says"
        )
        kind = Kind.SKIPPED if seen.caa.failure in (Failure.TIMEOUT, Failure.REFUSED) else Kind.WARNING
        yield Point(Area.HOST, kind, "caa-unreadable", seen.caa.name, message)
        return
    if not certificate or not seen.caa.values:
        return
    organisation = organisation_of(certificate)
    allowed = _AUTHORITIES.get(organisation)
    properties = [caa_property(value) for value in seen.caa.values]
    # RFC 8659 §4.3: for a wildcard name, issuewild counts in the place of issue.
    wildcard = host not in map(str.lower, names_of(certificate) or [host])
    tag = "issuewild" if wildcard and any(tag == "issuewild" for tag, _ in properties) else "issue"
    issue = [issuer for each, issuer in properties if each == tag]
    if allowed is None or not issue or set(issue) & set(allowed):
        return
    message = (
        f"CAA allows {', '.join(filter(None, issue)) or 'nobody'}, not {organisation}, which issued the certificate: "
        f'it won\'t be renewed; add `{seen.domain} CAA 0 {tag} "{allowed[0]}"`'
    )
    yield Point(Area.HOST, Kind.WARNING, "caa-forbids-renewal", seen.caa.name, message)


def judge_policy(seen: Seen) -> Iterator[Point]:
    """Judge the text that is served (RFC 8461 §3.2)."""
    if seen.served is None:
        return
    url = f"https://mta-sts.{seen.domain}"
    policy = seen.served.policy
    for found in check_policy(seen.served.body):
        yield Point.of(Area.POLICY, replace(found, path=found.path), url)
    if policy.mode is Mode.ENFORCE and 86_400 <= policy.max_age < _ENFORCE_AGE:  # noqa: PLR2004  below, check_policy warns
        message = (
            f"max_age {policy.max_age} is short for enforce: who blocks the policy host for that long ends the "
            f"protection; raise it to {_ENFORCE_AGE} when the set-up is steady"
        )
        yield Point(Area.POLICY, Kind.WARNING, "max-age-low", url, message)
    if policy.mode is Mode.TESTING:
        message = (
            f"mode testing protects nothing yet; when `mta-sts reports PATH --domain {seen.domain}` is clean for a "
            "full max_age, go on with `mta-sts promote`"
        )
        yield Point(Area.POLICY, Kind.NOTE, "mode-testing", url, message)
    if policy.mode is Mode.NONE:
        message = "mode none ends MTA-STS; keep file, record and certificate until no sender holds an older policy"
        yield Point(Area.POLICY, Kind.NOTE, "mode-none", url, message)
