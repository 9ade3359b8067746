"""Reports and report mails for tests, built piece by piece."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import date, timedelta
from typing import Any

DOMAIN = "example.com"
BODY = ("version: STSv1", "mode: testing", "mx: mx1.example.com", "mx: mx2.example.com", "max_age: 604800")
POLICY = "\n".join(BODY) + "\n"


def failure(result_type: str = "certificate-expired", mx: str = "mx2.example.com", sessions: Any = 1) -> dict[str, Any]:
    """Return one failure detail."""
    return {"result-type": result_type, "receiving-mx-hostname": mx, "failed-session-count": sessions}


def policy(
    kind: str = "sts",
    successful: Any = 5,
    failed: Any = 0,
    details: Any = (),
    *,
    body: Any = BODY,
    domain: Any = DOMAIN,
) -> dict[str, Any]:
    """Return one policy of a report."""
    return {
        "policy": {
            "policy-type": kind,
            "policy-domain": domain,
            **({"policy-string": list(body)} if kind == "sts" else {}),
        },
        "summary": {"total-successful-session-count": successful, "total-failure-session-count": failed},
        "failure-details": list(details),
    }


def report(
    *policies: dict[str, Any], organization: str = "Sender A", day: str = "2026-03-01", report_id: str = ""
) -> dict[str, Any]:
    """Return one report about one day."""
    return {
        "organization-name": organization,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": "tls@sender.example",
        "report-id": report_id or f"{day}_{organization}",
        "policies": list(policies) or [policy()],
    }


def data(document: Any) -> bytes:
    """Return a document as JSON."""
    return json.dumps(document).encode()


def mail(content: bytes, *, sender: str = "sender.example", results: str = "", extra: str = "") -> bytes:
    """Return a report mail as large senders build it."""
    top = f"Authentication-Results: {results}\r\n" if results else ""
    return (
        (
            f"{top}{extra}From: Reports <noreply@{sender}>\r\nTo: tls@{DOMAIN}\r\nSubject: Report Domain: {DOMAIN}\r\n"
            f"TLS-Report-Domain: {DOMAIN}\r\nTLS-Report-Submitter: {sender}\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type="tlsrpt"; boundary="=_b"\r\n\r\n'
            "--=_b\r\nContent-Type: text/plain\r\n\r\nThis is a report.\r\n"
            "--=_b\r\nContent-Type: application/tlsrpt+gzip\r\n"
            'Content-Disposition: attachment; filename="r.json.gz"\r\n'
            "Content-Transfer-Encoding: base64\r\n\r\n"
        ).encode()
        + base64.encodebytes(gzip.compress(content, mtime=0)).replace(b"\n", b"\r\n")
        + b"--=_b--\r\n"
    )


def days(count: int, first: str = "2026-03-01") -> list[str]:
    """Return that many days in a row."""
    start = date.fromisoformat(first)
    return [(start + timedelta(days=number)).isoformat() for number in range(count)]
