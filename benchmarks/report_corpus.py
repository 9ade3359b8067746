"""Write a corpus of TLS reports as large senders write them: the same one for the same number, on every machine."""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SENDERS = (
    ("Google Inc.", "google.com", "smtp-tls-reporting@google.com"),
    ("Microsoft Corporation", "microsoft.com", "tlsrpt-noreply@microsoft.com"),
    ("Mail.ru", "mail.ru", "tls_support@corp.mail.ru"),
    ("Example Sender", "sender.example", "postmaster@sender.example"),
)
FAILURES = ("certificate-expired", "certificate-host-mismatch", "starttls-not-supported", "sts-policy-fetch-error")
DOMAINS = 20
DAYS = 30
FORMS = ("json.gz", "eml", "mbox")
TOGETHER = 1000
"""Reports in one folder or mbox file."""


def reports(numbers: range) -> Iterator[dict[str, Any]]:
    """Yield reports: 20 domains, 30 days, four senders; one in five with failures."""
    chance = random.Random(8460 + numbers.start)  # noqa: S311  the same corpus every time
    for number in numbers:
        name, domain, contact = SENDERS[number % len(SENDERS)]
        day = date(2026, 3, 1) + timedelta(days=chance.randrange(DAYS))
        target = f"example{chance.randrange(DOMAINS)}.com"
        failing = chance.random() < 0.2  # noqa: PLR2004
        hosts = [f"mx{host}.{target}" for host in (1, 2)]
        policy = {
            "policy-type": "sts",
            "policy-string": ["version: STSv1", "mode: testing", *(f"mx: {host}" for host in hosts), "max_age: 604800"],
            "policy-domain": target,
            "mx-host": hosts,
        }
        failed = chance.randrange(1, 9) if failing else 0
        details = [
            {
                "result-type": chance.choice(FAILURES),
                "sending-mta-ip": f"203.0.113.{chance.randrange(256)}",
                "receiving-mx-hostname": chance.choice(hosts),
                "receiving-ip": f"198.51.100.{chance.randrange(256)}",
                "failed-session-count": failed,
            }
        ]
        yield {
            "organization-name": name,
            "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
            "contact-info": contact,
            "report-id": f"{day}T00:00:00Z_{target}_{number}@{domain}",
            "policies": [
                {
                    "policy": policy,
                    "summary": {
                        "total-successful-session-count": chance.randrange(1, 5000),
                        "total-failure-session-count": failed,
                    },
                    **({"failure-details": details} if failing else {}),
                }
            ],
        }


def as_mail(report: dict[str, Any], content: bytes) -> bytes:
    """Return a report mail with the header fields that it has on arrival."""
    sender = report["contact-info"].partition("@")[2]
    target = report["policies"][0]["policy"]["policy-domain"]
    filler = base64.b64encode(random.Random(report["report-id"]).randbytes(256)).decode()  # noqa: S311
    head = (
        f"Return-Path: <{report['contact-info']}>\r\n"
        f"Authentication-Results: mx.example.com; dkim=pass header.d={sender}; spf=pass smtp.mailfrom={sender}\r\n"
        f"Received: from out.{sender} (out.{sender} [203.0.113.7])\r\n"
        f"\tby mx.example.com with ESMTPS id {filler[:12]}\r\n"
        "\tfor <tls@example.com>; Sun, 01 Mar 2026 04:00:00 +0000 (UTC)\r\n"
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={sender}; s=sel;\r\n"
        f"\th=from:to:subject:date; bh={filler[:43]}=;\r\n\tb={filler}\r\n"
        f"From: TLS reports <{report['contact-info']}>\r\nTo: tls@example.com\r\n"
        f"Subject: Report Domain: {target} Submitter: {sender} Report-ID: <{report['report-id']}>\r\n"
        f"Date: Sun, 01 Mar 2026 04:00:00 +0000\r\nMessage-ID: <{report['report-id']}>\r\n"
        f"TLS-Report-Domain: {target}\r\nTLS-Report-Submitter: {sender}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type="tlsrpt"; boundary="----=_Part_0001"\r\n\r\n'
        '------=_Part_0001\r\nContent-Type: text/plain; charset="us-ascii"\r\n\r\n'
        f"This is an aggregate TLS report from {sender}\r\n\r\n"
        "------=_Part_0001\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="{sender}!{target}!1.json.gz"\r\n\r\n'
    )
    body = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return head.encode() + body + b"\r\n------=_Part_0001--\r\n"


def write(folder: Path, count: int, form: str) -> Path:
    """Write that many reports below a folder, unless they are there, on all cores; progress goes to stderr."""
    target = folder / f"{form}-{count}"
    if (target / ".complete").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    parts = [range(start, min(start + TOGETHER, count)) for start in range(0, count, TOGETHER)]
    with ProcessPoolExecutor() as pool:
        for done, part in enumerate(pool.map(partial(_write_part, target, form), parts), 1):
            if done % 100 == 0 or done == len(parts):
                print(f"{part.stop:,} of {count:,} reports written ({form})", file=sys.stderr)
    (target / ".complete").touch()
    return target


def _write_part(target: Path, form: str, numbers: range) -> range:
    place = target / f"{numbers.start // TOGETHER:04}"
    if form == "mbox":
        with place.with_suffix(".mbox").open("wb") as file:
            for report in reports(numbers):
                mail = as_mail(report, _compressed(report))
                file.write(b"From reports@sender.example Sun Mar  1 04:00:00 2026\n" + mail + b"\n")
        return numbers
    place.mkdir(exist_ok=True)
    for number, report in zip(numbers, reports(numbers), strict=True):
        content = _compressed(report)
        (place / f"{number}.{form}").write_bytes(content if form == "json.gz" else as_mail(report, content))
    return numbers


def _compressed(report: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps(report, indent=1).encode(), mtime=0)


def main() -> None:
    """Write a corpus and say where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--form", choices=FORMS, default="json.gz")
    options = parser.parse_args()
    print(write(options.folder, options.count, options.form))


if __name__ == "__main__":
    main()
