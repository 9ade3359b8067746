"""Real senders in the sandbox: real DNS packets, real HTTPS, real SMTP with STARTTLS."""

from __future__ import annotations

import contextlib
import json
import smtplib
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.resolver

from mta_sts import Mode, MtaStsError
from mta_sts.fetch import fetch_policy, tls_context
from mta_sts.sender import Delivery, Looks, LookupFailedError, Outcome, Sender, Temperament, Unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sandbox.world.client import World

TEMPERAMENTS = {
    "diligent": Temperament(),
    "renewing": Temperament(unchanged=Unchanged.RENEWS),
    "lazy": Temperament(looks=Looks.AT_EXPIRY, cap=30 * 86_400),
}
"""The senders that deliver after each `make up`: RFC 8461 as written, and two habits of real ones."""

_DNS_LIMIT = 5.0
_HTTPS_LIMIT = 10.0
_SMTP_LIMIT = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One sender's delivery to one domain, with the id it held before."""

    sender: str
    domain: str
    held_before: str
    delivery: Delivery


class WorldResolver:
    """Asks the sandbox's DNS, never a cache."""

    def __init__(self, world: World) -> None:
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = [world.endpoints.dns["address"]]
        self._resolver.port = world.endpoints.dns["port"]
        self._resolver.lifetime = _DNS_LIMIT

    def mx(self, domain: str) -> list[tuple[int, str]]:
        """Return (preference, host) of each MX record."""
        found = self._ask(domain, "MX")
        return [(record.preference, record.exchange.to_text(omit_final_dot=True).lower()) for record in found]

    def txt(self, name: str) -> list[str]:
        """Return the TXT values at a name."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host, IPv4 first."""
        return [record.address for kind in ("A", "AAAA") for record in self._ask(host, kind)]

    def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            return list(self._resolver.resolve(name, kind))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as error:
            raise LookupFailedError(f"{name} {kind}: {error}") from error


class WorldMail:
    """Delivers by SMTP with STARTTLS to the sandbox's MX hosts."""

    def __init__(self, world: World, resolver: WorldResolver) -> None:
        self._ports = world.endpoints.mx
        self._resolver = resolver
        self._verifying = tls_context(Path(world.endpoints.ca_file))

    def passes(self, host: str) -> bool:
        """Whether a host offers STARTTLS with a certificate that speaks for it (RFC 8461 §4.2)."""
        try:
            with self._session(host) as session:
                session.starttls(context=self._verifying)
                return session.noop()[0] == 250  # noqa: PLR2004  SMTP's "done"
        except (OSError, smtplib.SMTPException):
            return False

    def send(self, host: str, domain: str, *, verified: bool) -> None:
        """Hand over one mail; raises OSError or SMTPException where the host does not take it.

        Where no policy is enforced TLS is opportunistic: whatever the certificate, and without where it fails.
        """
        if verified:
            self._hand_over(host, domain, self._verifying)
            return
        try:
            self._hand_over(host, domain, _unverifying())
        except (ssl.SSLError, smtplib.SMTPNotSupportedError):
            self._hand_over(host, domain, None)

    def _hand_over(self, host: str, domain: str, context: ssl.SSLContext | None) -> None:
        with self._session(host) as session:
            if context is not None:
                session.starttls(context=context)
            session.sendmail("sender@sender.invalid", [f"postmaster@{domain}"], "Subject: test\r\n\r\nHello.\r\n")

    @contextlib.contextmanager
    def _session(self, host: str) -> Iterator[smtplib.SMTP]:
        """Connect to the first address that answers; raises OSError where none does."""
        failure = OSError(f"{host} has no address that the world serves")
        with smtplib.SMTP(timeout=_SMTP_LIMIT) as session:
            session._host = host  # type: ignore[attr-defined]  # noqa: SLF001  the name that STARTTLS asks for
            for address in _addresses(self._resolver, host):
                if address not in self._ports.get(host, {}):
                    continue
                try:
                    session.connect(address, self._ports[host][address])
                    session.ehlo()
                except (OSError, smtplib.SMTPException) as error:
                    failure = OSError(f"{host} at {address}: {error}")
                    continue
                yield session
                return
        raise failure


def _addresses(resolver: WorldResolver, host: str) -> list[str]:
    """Return a host's addresses; raises OSError where DNS gives no answer."""
    try:
        return resolver.addresses(host)
    except LookupFailedError as error:
        raise OSError(str(error)) from error


def _unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def sender_in(world: World, temperament: Temperament, clock: Callable[[], float] | None = None) -> Sender:
    """Return a sender that lives in the sandbox."""
    context = tls_context(Path(world.endpoints.ca_file))
    resolver = WorldResolver(world)
    mail = WorldMail(world, resolver)

    def fetch(domain: str) -> bytes:
        """Fetch from the first address that DNS gives and that serves a policy."""
        failure: Exception = OSError(f"mta-sts.{domain} has no address that the world serves")
        for address in _addresses(resolver, f"mta-sts.{domain}"):
            if address not in world.endpoints.edge:
                continue
            try:
                port = world.endpoints.edge[address]
                return fetch_policy(domain, address, port, context=context, limit=_HTTPS_LIMIT).body
            except MtaStsError as error:
                failure = error
        raise failure

    return Sender(temperament, clock=clock or world.now, resolver=resolver, fetch=fetch, deliverable=mail.passes)


def deliver_all(world: World, domains: Sequence[str], file: Path) -> list[Row]:
    """Let each sender deliver one mail to each domain; their caches are kept in `file` from run to run."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    mail = WorldMail(world, WorldResolver(world))
    rows: list[Row] = []
    for name, temperament in TEMPERAMENTS.items():
        sender = sender_in(world, temperament)
        sender.restore(kept.get(name, {}))
        for domain in domains:
            before = sender.held.get(domain)
            delivery = sender.deliver(domain)
            if delivery.host:
                try:
                    mail.send(delivery.host, domain, verified=delivery.mode == Mode.ENFORCE)
                except (OSError, smtplib.SMTPException) as error:
                    delivery = replace(delivery, outcome=Outcome.DEFERRED, reason=str(error))
            rows.append(Row(name, domain, before.id if before else "", delivery))
        kept[name] = sender.export()
    file.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return rows
