"""What exists before anything is deployed: zones at Cloudflare with their records, and the mail hosts."""

from __future__ import annotations

from dataclasses import dataclass

ACCOUNT = "111111111111"
"""The AWS account of the sandbox (ministack takes a 12-digit access key as the account)."""
TOKEN = "sandbox-token"  # noqa: S105  no secret: it opens nothing but the sandbox
"""The Cloudflare token of the sandbox."""
NEGATIVE_TTL = 1800
"""Seconds that resolvers keep "no such name": the SOA minimum that Cloudflare serves."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A record that stands in a zone from the start; `locked` ones the API refuses to change."""

    name: str
    type: str
    content: str
    priority: int | None = None
    locked: bool = False


GOOGLE = (
    "aspmx.l.google.com",
    "alt1.aspmx.l.google.com",
    "alt2.aspmx.l.google.com",
    "alt3.aspmx.l.google.com",
    "alt4.aspmx.l.google.com",
)
ROUTING = ("route1.mx.cloudflare.net", "route2.mx.cloudflare.net", "route3.mx.cloudflare.net")
_OWN_HOSTS = (
    "mx1.example.com",
    "mx2.example.com",
    "mx3.example.com",
    "mx4.example.com",
    "mx.xn--bcher-kva.example",
    "mx.retired.example",
)

NAME_SERVERS = ("ada.ns.cloudflare.com", "bob.ns.cloudflare.com")
"""The servers that the zones are delegated to; both are the one that listens."""

MAIL_HOSTS = (
    *_OWN_HOSTS,
    *GOOGLE,
    *ROUTING,
    "smtp.google.com",
    "m365-example.mail.protection.outlook.com",
    "m365-dane-example.mx.microsoft",
)
"""Every MX host of the world; `mx3` and `mx4.example.com` stand ready to be added."""


def _mx(domain: str, hosts: tuple[str, ...], *, locked: bool = False) -> tuple[Existing, ...]:
    return tuple(Existing(domain, "MX", host, 10 * (index + 1), locked) for index, host in enumerate(hosts))


ZONES: dict[str, tuple[Existing, ...]] = {
    "example.com": (),
    "workspace.example": _mx("workspace.example", GOOGLE),
    "gmail-new.example": _mx("gmail-new.example", ("smtp.google.com",)),
    "m365.example": _mx("m365.example", ("m365-example.mail.protection.outlook.com",)),
    "m365-dane.example": _mx("m365-dane.example", ("m365-dane-example.mx.microsoft",)),
    "routing.example": _mx("routing.example", ROUTING, locked=True),
    "xn--bcher-kva.example": (),
    "retired.example": _mx("retired.example", ("mx.retired.example",)),
}
