"""The records of a Cloudflare zone with their ids, which DNS does not tell; only read, never changed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mta_sts.names import to_ascii
from mta_sts.records import txt_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

API = "https://api.cloudflare.com/client/v4"
TOKEN_VARIABLE = "CLOUDFLARE_API_TOKEN"  # noqa: S105  a name, no secret
BASE_VARIABLE = "CLOUDFLARE_BASE_URL"
"""Environment variables, the same that the Cloudflare provider reads."""
_LIMIT = 20.0
_PAGE = 100


class ZoneUnreadError(RuntimeError):
    """The zone's records could not be read; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class ZoneRecord:
    """One record as the API gives it; a TXT is joined and without quotes, `content` is as the API keeps it."""

    id: str
    name: str
    type: str
    value: str
    content: str
    ttl: int
    priority: int | None
    proxied: bool
    modified: datetime | None


@dataclass(frozen=True, slots=True)
class ZoneRecords:
    """The zone, and those of its records that were asked for."""

    id: str
    name: str
    records: Sequence[ZoneRecord]

    def at(self, name: str, *kinds: str) -> list[ZoneRecord]:
        """Return the records of some types at a name."""
        return [record for record in self.records if record.name == name and record.type in kinds]


def read_zone(domain: str, environment: Mapping[str, str]) -> ZoneRecords:
    """Return what the zone that holds a domain has at the names that MTA-STS uses; raises ZoneUnreadError."""
    base, token = _access(environment)
    labels = domain.split(".")
    for depth in range(len(labels) - 1):
        name = ".".join(labels[depth:])
        zones = [zone for zone in _get(base, token, "/zones", {"name": name}) if to_ascii(zone["name"]) == name]
        if len(zones) > 1:
            ids = ", ".join(zone["id"] for zone in zones)
            raise ZoneUnreadError(
                f"the token sees {len(zones)} zones named {name} ({ids}); use a token for one of them"
            )
        if zones:
            names = (domain, f"_mta-sts.{domain}", f"_smtp._tls.{domain}", f"mta-sts.{domain}")
            return ZoneRecords(zones[0]["id"], name, list(_records(base, token, zones[0]["id"], names)))
    raise ZoneUnreadError(f"the token of {TOKEN_VARIABLE} sees no zone that holds {domain}; give it Zone:Read on it")


def read_records(zone_id: str, name: str, environment: Mapping[str, str]) -> list[ZoneRecord]:
    """Return the records at one name of a zone; raises ZoneUnreadError."""
    return list(_records(*_access(environment), zone_id, (name,)))


def _access(environment: Mapping[str, str]) -> tuple[str, str]:
    token = environment.get(TOKEN_VARIABLE)
    if not token:
        raise ZoneUnreadError(f"{TOKEN_VARIABLE} is not set; with a token that has DNS:Read the ids are looked up")
    return environment.get(BASE_VARIABLE) or API, token


def _records(base: str, token: str, zone_id: str, names: Iterable[str]) -> Iterable[ZoneRecord]:
    for name in names:
        for found in _get(base, token, f"/zones/{zone_id}/dns_records", {"name.exact": name}):
            content = str(found["content"])
            changed = found.get("modified_on")
            yield ZoneRecord(
                id=found["id"],
                name=to_ascii(found["name"]),
                type=found["type"],
                value=txt_value(content) if found["type"] == "TXT" else content.rstrip(".").lower(),
                content=content,
                ttl=int(found["ttl"]),
                priority=found.get("priority"),
                proxied=bool(found.get("proxied")),
                modified=datetime.fromisoformat(changed) if changed else None,
            )


def _get(base: str, token: str, path: str, query: Mapping[str, str]) -> list[Any]:
    url = f"{base.rstrip('/')}{path}?{urlencode({**query, 'per_page': _PAGE})}"
    if not url.startswith(("https://", "http://127.0.0.1", "http://[::1]")):
        raise ZoneUnreadError(f"{BASE_VARIABLE} is {base!r}; give an https URL")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  checked above
    try:
        with urllib.request.urlopen(request, timeout=_LIMIT) as answer:  # noqa: S310
            return list(json.load(answer)["result"])
    except urllib.error.HTTPError as error:
        raise ZoneUnreadError(
            f"Cloudflare answers {error.code} to {path}; give the token DNS:Read on the zone"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ZoneUnreadError(f"Cloudflare can't be asked ({error})") from error
