"""Senders that report (RFC 8460): what each saw in its sessions with a domain, a signed mail for each day."""

from __future__ import annotations

import gzip
import json
import smtplib
import ssl
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mta_sts import Mode, MtaStsError, mx_matches, parse_policy, select_tlsrpt_record
from mta_sts.reports.origin import verified_signers
from sandbox.senders import WorldMail, WorldResolver, sender_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from mta_sts.sender import Delivery, Temperament
    from sandbox.world.client import World

_SELECTOR = "tlsrpt"
_KEY_BITS = 2048
# What OpenSSL says of a certificate, in the words of RFC 8460 §4.3.
_RESULT_TYPES = {
    10: "certificate-expired",
    18: "certificate-not-trusted",
    19: "certificate-not-trusted",
    20: "certificate-not-trusted",
    21: "certificate-not-trusted",
    62: "certificate-host-mismatch",
}


class ExaminedMail(WorldMail):
    """Delivers, and tells in the words of RFC 8460 §4.3 why TLS with a host fails."""

    def failure(self, host: str) -> str:
        """Return the result type of a session with a host, empty for one that is fine; raises OSError for none."""
        with self._session(host) as session:
            try:
                session.starttls(context=self._verifying)
            except smtplib.SMTPNotSupportedError:
                return "starttls-not-supported"
            except ssl.SSLCertVerificationError as error:
                return _RESULT_TYPES.get(error.verify_code, "validation-failure")
            except (OSError, smtplib.SMTPException):
                return "validation-failure"
        return ""


@dataclass(slots=True)
class Sessions:
    """One day's sessions with one domain under one policy body; failures by result type and MX host."""

    successful: int = 0
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)


class ReportingSender:
    """One organization that sends mail, and reports to domains that ask for it."""

    def __init__(self, world: World, organization: str, temperament: Temperament) -> None:
        """`organization` is the domain that its reports come from."""
        self.organization = organization
        self._world = world
        self._sender = sender_in(world, temperament)
        self._resolver = WorldResolver(world)
        self._mail = ExaminedMail(world, self._resolver)
        self._seen: dict[tuple[date, str, str], Sessions] = {}
        self._mails = 0
        key = rsa.generate_private_key(65_537, _KEY_BITS)
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        # RFC 8460 §3: a key for TLS reports alone says so.
        shown = "".join(public.decode().splitlines()[1:-1])
        self.published_key = {f"{_SELECTOR}._domainkey.{organization}.": f"v=DKIM1; k=rsa; s=tlsrpt; p={shown}"}

    def deliver(self, domain: str) -> Delivery:
        """Deliver one mail, and note each session with its result."""
        delivery = self._sender.deliver(domain)
        self._mails += 1
        if delivery.mode == Mode.ENFORCE:
            for host in delivery.skipped:
                self._note(domain, delivery.body, host)
            if delivery.host:
                self._note(domain, delivery.body, delivery.host)
                self._mail.send(delivery.host, domain, verified=True)
            return delivery
        host = self._next_host(domain)
        self._note(domain, delivery.body, host)
        self._mail.send(host, domain, verified=False)
        return delivery

    def _next_host(self, domain: str) -> str:
        """Return one of the most preferred hosts: mail is spread over them (RFC 5321 §5.1)."""
        records = self._resolver.mx(domain)
        best = min(preference for preference, _ in records)
        hosts = sorted(host for preference, host in records if preference == best)
        return hosts[self._mails % len(hosts)]

    def _note(self, domain: str, body: str, host: str) -> None:
        sessions = self._seen.setdefault((self._today(), domain, body), Sessions())
        covered = not body or any(mx_matches(pattern, host) for pattern in parse_policy(body).mx)
        # RFC 8460 §4.3.4: what has no name of its own, such as a host that the policy lacks.
        failure = self._mail.failure(host) if covered else "validation-failure"
        if failure and body:
            sessions.failed[failure, host] += 1
        else:
            sessions.successful += 1

    def _today(self) -> date:
        return datetime.fromtimestamp(self._world.now(), UTC).date()

    def report(self, domain: str, day: date) -> bytes | None:
        """Return the signed mail with the report about one day; None without sessions, or where nobody asks for it."""
        seen = {body: sessions for (on, name, body), sessions in self._seen.items() if (on, name) == (day, domain)}
        try:
            rua = select_tlsrpt_record(self._resolver.txt(f"_smtp._tls.{domain}")).rua
        except MtaStsError:
            return None
        if not seen:
            return None
        document = _document(self.organization, domain, day, seen)
        return self._signed(_mail(document, self.organization, domain, rua[0].removeprefix("mailto:")))

    def _signed(self, mail: bytes) -> bytes:
        """Sign as RFC 8460 §3 asks: for the domain that reports."""
        signature: bytes = dkim.sign(mail, _SELECTOR.encode(), self.organization.encode(), self._key)
        return signature + mail


def _document(organization: str, domain: str, day: date, seen: Mapping[str, Sessions]) -> dict[str, Any]:
    """Return the report of RFC 8460 §4.4, with each policy as the sender saw it."""
    return {
        "organization-name": organization,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": f"tls-reports@{organization}",
        "report-id": f"{day}_{domain}_{organization}",
        "policies": [
            {
                "policy": {"policy-type": "sts" if body else "no-policy-found", "policy-domain": domain}
                | ({"policy-string": body.splitlines(), "mx-host": list(parse_policy(body).mx)} if body else {}),
                "summary": {
                    "total-successful-session-count": sessions.successful,
                    "total-failure-session-count": sessions.failed.total(),
                },
                "failure-details": [
                    {"result-type": failure, "receiving-mx-hostname": host, "failed-session-count": count}
                    for (failure, host), count in sorted(sessions.failed.items())
                ],
            }
            for body, sessions in seen.items()
        ],
    }


def _mail(document: Mapping[str, Any], organization: str, domain: str, to: str) -> bytes:
    """Return the report mail of RFC 8460 §5.3, its report in gzip (§5.2) under the name of §5.1."""
    mail = MIMEMultipart("report", report_type="tlsrpt")
    mail["From"] = f"tls-reports@{organization}"
    mail["To"] = to
    mail["Subject"] = f"Report Domain: {domain} Submitter: {organization} Report-ID: <{document['report-id']}>"
    mail["TLS-Report-Domain"] = domain
    mail["TLS-Report-Submitter"] = organization
    mail["Message-ID"] = f"<{document['report-id']}@{organization}>"
    mail.attach(MIMEText(f"This is an aggregate TLS report from {organization}\n"))
    dates = [datetime.fromisoformat(document["date-range"][end]) for end in ("start-datetime", "end-datetime")]
    begin, end = (f"{each.timestamp():.0f}" for each in dates)
    attachment = MIMEApplication(gzip.compress(json.dumps(document).encode(), mtime=0), "tlsrpt+gzip")
    attachment.add_header(
        "Content-Disposition", "attachment", filename=f"{organization}!{domain}!{begin}!{end}!001.json.gz"
    )
    mail.attach(attachment)
    return mail.as_bytes().replace(b"\n", b"\r\n")


class Inbox:
    """Where a domain's reports arrive: its mail host verifies DKIM, notes the result on top, and files the mail."""

    def __init__(self, folder: Path, host: str) -> None:
        """`host` is the name under which it notes results (the authserv-id of RFC 8601)."""
        self.folder = folder
        self.host = host
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)

    def receive(self, mail: bytes, keys: Mapping[str, str]) -> None:
        """File one mail; `keys` are the TXT values that the sender's DNS shows by name."""

        def look(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001  as dkimpy calls it
            return keys[name.decode()].encode() if name.decode() in keys else None

        signers = verified_signers(mail, look)
        results = "".join(f"; dkim=pass header.d={signer}" for signer in signers) or "; none"
        self._count += 1
        noted = f"Authentication-Results: {self.host}{results}\r\n".encode() + mail
        (self.folder / f"{self._count:04}.eml").write_bytes(noted)
