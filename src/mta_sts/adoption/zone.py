"""The records of a Cloudflare zone with their ids, which DNS does not tell; only read, never changed."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from mta_sts.names import to_ascii
from mta_sts.records import txt_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_T = TypeVar("_T")

API = "https://api.cloudflare.com/client/v4"
TOKEN_VARIABLE = "CLOUDFLARE_API_TOKEN"  # noqa: S105  a name, no secret
BASE_VARIABLE = "CLOUDFLARE_BASE_URL"
"""Environment variables, the same that the Cloudflare provider reads."""
_LIMIT = 20.0
"""Seconds for everything that is asked of the API at a time."""
_LONGEST_ANSWER = 4 << 20
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
    api = _api(environment)
    return _in_time(lambda: _zone(api, domain))


def read_records(zone_id: str, name: str, environment: Mapping[str, str]) -> list[ZoneRecord]:
    """Return the records at one name of a zone; raises ZoneUnreadError."""
    api = _api(environment)
    return _in_time(lambda: list(_records(api, zone_id, (name,))))


def _in_time(ask: Callable[[], _T]) -> _T:
    """Return what is asked within `_LIMIT`, in a thread that nobody waits for.

    A socket's own limit begins anew with each byte that comes, and the look-up of a name has none.
    """
    answer: Future[_T] = Future()

    def work() -> None:
        try:
            with _understood():
                answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001  for whoever waits
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return answer.result(_LIMIT)
    except TimeoutError:
        message = f"Cloudflare gave no whole answer within {_LIMIT:g} s; ask again later"
        raise ZoneUnreadError(message) from None


def _zone(api: _Api, domain: str) -> ZoneRecords:
    labels = domain.split(".")
    for depth in range(len(labels) - 1):
        name = ".".join(labels[depth:])
        zones = [str(zone["id"]) for zone in api.get("/zones", {"name": name}) if to_ascii(zone["name"]) == name]
        if len(zones) > 1:
            raise ZoneUnreadError(
                f"the token sees {len(zones)} zones named {name} ({', '.join(zones)}); use a token for one of them"
            )
        if zones:
            names = (domain, f"_mta-sts.{domain}", f"_smtp._tls.{domain}", f"mta-sts.{domain}")
            return ZoneRecords(zones[0], name, list(_records(api, zones[0], names)))
    raise ZoneUnreadError(f"the token of {TOKEN_VARIABLE} sees no zone that holds {domain}; give it Zone:Read on it")


class _SamePlace(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token would go along."""

    def redirect_request(self, *_: object) -> None:
        """Let the redirect be the answer."""


@dataclass(frozen=True, slots=True)
class _Api:
    """Where the API is and who asks."""

    base: str
    token: str

    def get(self, path: str, query: Mapping[str, str]) -> list[Any]:
        """Return the result of a GET; no message may hold the token, so no error of others is quoted as it is."""
        url = f"{self.base}{path}?{urlencode({**query, 'per_page': _PAGE})}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})  # noqa: S310  see _api
        opener = urllib.request.build_opener(_SamePlace)
        try:
            with opener.open(request, timeout=_LIMIT) as answer:
                return list(json.loads(answer.read(_LONGEST_ANSWER))["result"])
        except urllib.error.HTTPError as error:
            error.close()
            what = {401: "see that the token is whole and valid", 403: "give the token DNS:Read on the zone"}
            way_out = what.get(error.code, "ask again later")
            raise ZoneUnreadError(f"Cloudflare answers {error.code} to {path}; {way_out}") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ZoneUnreadError(f"Cloudflare can't be asked ({getattr(reason, 'strerror', '') or reason})") from None
        except HTTPException:
            raise ZoneUnreadError(f"what answers at {self.base} does not speak HTTP; see {BASE_VARIABLE}") from None


def _api(environment: Mapping[str, str]) -> _Api:
    """Return the API that the environment names; raises ZoneUnreadError before anything is sent."""
    token = environment.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise ZoneUnreadError(f"{TOKEN_VARIABLE} is not set; with a token that has DNS:Read the ids are looked up")
    if not all("!" <= character <= "~" for character in token):
        raise ZoneUnreadError(f"{TOKEN_VARIABLE} holds a space or a character that no token has; copy it again")
    base = (environment.get(BASE_VARIABLE, "").strip() or API).rstrip("/")
    if not _safe(base):
        shown = base.rpartition("@")[2]
        raise ZoneUnreadError(f"{BASE_VARIABLE} is {shown!r}; give an https URL without a password, such as {API}")
    return _Api(base, token)


def _safe(base: str) -> bool:
    """Whether the token may go there: by TLS, or to an emulator on this machine."""
    try:
        parts = urlsplit(base)
        if not all("!" <= character <= "~" for character in base) or parts.username is not None:
            return False
        _ = parts.port
    except ValueError:
        return False
    if parts.query or parts.fragment or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1"))


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Let an answer that is not what the API documents be a reason, not a traceback."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ZoneUnreadError(f"the answer is not what Cloudflare's API gives; see {BASE_VARIABLE}") from None


def _records(api: _Api, zone_id: str, names: Iterable[str]) -> Iterator[ZoneRecord]:
    for name in names:
        for found in api.get(f"/zones/{zone_id}/dns_records", {"name.exact": name}):
            content = str(found["content"])
            changed = found.get("modified_on")
            yield ZoneRecord(
                id=str(found["id"]),
                name=to_ascii(found["name"]),
                type=found["type"],
                value=txt_value(content) if found["type"] == "TXT" else content.rstrip(".").lower(),
                content=content,
                ttl=int(found["ttl"]),
                priority=found.get("priority"),
                proxied=bool(found.get("proxied")),
                modified=datetime.fromisoformat(changed) if changed else None,
            )
