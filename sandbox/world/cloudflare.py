"""The part of Cloudflare's API v4 that the provider and our tools use: zones and DNS records, on disk."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sandbox.world.internet import TOKEN, ZONES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.world.faults import Faults

Record = dict[str, Any]

_COMMENT_LIMIT = 100  # characters, free plan
_TXT_STRING = 255
_HOST_TYPES = ("A", "AAAA", "CNAME")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class ApiError(Exception):
    """An answer other than success: HTTP status, Cloudflare's code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


class Cloudflare:
    """The zones and records, and the API over them (an ASGI application)."""

    def __init__(self, file: Path, faults: Faults, changed: Callable[[], None]) -> None:
        self._file = file
        self._faults = faults
        self._changed = changed
        if file.exists():
            self._state: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        else:
            self._state = {"zones": {}, "records": {}}
            for name, records in ZONES.items():
                zone_id = uuid.uuid5(uuid.NAMESPACE_DNS, name).hex
                self._state["zones"][zone_id] = {"id": zone_id, "name": name, "status": "active"}
                for record in records:
                    values = {"name": record.name, "type": record.type, "content": record.content, "ttl": 300}
                    if record.priority is not None:
                        values["priority"] = record.priority
                    self._insert(zone_id, values, locked=record.locked)
            self._save()

    @property
    def zones(self) -> list[str]:
        """The names of the zones."""
        return [zone["name"] for zone in self._state["zones"].values()]

    @property
    def records(self) -> list[Record]:
        """Every record of every zone."""
        return list(self._state["records"].values())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one API call."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        method, path = scope["method"], scope["path"].removeprefix("/client/v4")
        headers = {key.decode().lower(): value.decode() for key, value in scope["headers"]}
        query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
        fault = self._faults.for_call(f"cloudflare {method} {path} {body.decode('utf-8', 'replace')}")
        extra: list[tuple[bytes, bytes]] = []
        try:
            _raise_fault(fault)
            _check_token(headers)
            result, info = self._route(method, path, query, json.loads(body) if body else {})
            status, document = 200, _envelope(result=result, info=info)
        except ApiError as error:
            status, document = error.status, _envelope(errors=[{"code": error.code, "message": error.message}])
            if error.status == 429:  # noqa: PLR2004
                extra = [(b"retry-after", b"1")]
        except json.JSONDecodeError:
            status, document = 400, _envelope(errors=[{"code": 9207, "message": "Request body is invalid."}])
        if fault == "drop-after":
            raise ConnectionAbortedError  # done, but the caller never hears of it
        await asyncio.sleep(0)
        payload = json.dumps(document).encode()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"application/json"), *extra],
            }
        )
        await send({"type": "http.response.body", "body": payload})

    def _route(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[Any, Any]:
        parts = path.strip("/").split("/")
        match (method, *parts):
            case ("GET", "user", "tokens", "verify"):
                return {"status": "active"}, None
            case ("GET", "zones"):
                zones = [zone for zone in self._state["zones"].values() if query.get("name") in (None, zone["name"])]
                return _page(zones, query)
            case ("GET", "zones", zone_id):
                return self._zone(zone_id), None
            case ("GET", "zones", zone_id, "dns_records"):
                self._zone(zone_id)
                return _page([record for record in self._in(zone_id) if _wanted(record, query)], query)
            case ("POST", "zones", zone_id, "dns_records"):
                self._zone(zone_id)
                return self._change(lambda: self._insert(zone_id, self._checked(zone_id, body))), None
            case (_, "zones", zone_id, "dns_records", record_id):
                self._zone(zone_id)
                return self._one(method, zone_id, record_id, body), None
        raise ApiError(404, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")

    def _one(self, method: str, zone_id: str, record_id: str, body: dict[str, Any]) -> Any:
        record = self._state["records"].get(record_id)
        if record is None or record["zone_id"] != zone_id:
            raise ApiError(404, 81044, "Record does not exist.")
        if method == "GET":
            return record
        if record["meta"].get("email_routing"):
            raise ApiError(400, 890, "This record is managed by Email Routing. Disable Email Routing to modify it.")
        if method == "DELETE":
            return self._change(lambda: {"id": self._state["records"].pop(record_id)["id"]})
        kept = record if method == "PATCH" else {}
        values = self._checked(zone_id, {**kept, **body}, replacing=record_id)
        return self._change(lambda: self._replace(record, values))

    def _change(self, change: Callable[[], Any]) -> Any:
        result = change()
        self._save()
        self._changed()
        return result

    def _zone(self, zone_id: str) -> dict[str, Any]:
        zone = self._state["zones"].get(zone_id)
        if zone is None:
            raise ApiError(404, 7003, "Could not route to the zone, perhaps your object identifier is invalid?")
        return dict(zone)

    def _in(self, zone_id: str) -> list[Record]:
        return [record for record in self.records if record["zone_id"] == zone_id]

    def _checked(self, zone_id: str, body: dict[str, Any], replacing: str = "") -> dict[str, Any]:
        """Return the record's values as the API stores them; raises ApiError as it refuses them."""
        zone = self._zone(zone_id)["name"]
        name = str(body.get("name", "")).rstrip(".").lower()
        kind, content = str(body.get("type", "")), str(body.get("content") or "")
        if name == "@" or not name:
            name = zone
        if name != zone and not name.endswith(f".{zone}"):
            name = f"{name}.{zone}"
        if kind not in ("A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT") or not content:
            raise ApiError(400, 9005, f"Content for {kind or 'a'} record is invalid.")
        ttl = int(body.get("ttl") or 1)
        if ttl != 1 and not 60 <= ttl <= 86_400:  # noqa: PLR2004  the API's limits
            raise ApiError(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
        comment = body.get("comment")
        if comment is not None and len(comment) > _COMMENT_LIMIT:
            raise ApiError(400, 9313, f"DNS record comment exceeds the limit of {_COMMENT_LIMIT} characters.")
        if body.get("tags"):
            raise ApiError(400, 9301, "DNS record has 1 tags, exceeding the quota of 0.")
        content = _stored_text(content) if kind == "TXT" else content.rstrip(".")
        values = {"name": name, "type": kind, "content": content, "ttl": ttl, "proxied": bool(body.get("proxied"))}
        values |= {"comment": comment, "tags": [], "settings": body.get("settings") or {}}
        if kind in ("MX", "SRV"):
            if body.get("priority") is None:
                raise ApiError(400, 9102, "priority is a required field for this record type.")
            values["priority"] = int(body["priority"])
        self._refuse_clash(zone_id, values, replacing)
        return values

    def _refuse_clash(self, zone_id: str, values: dict[str, Any], replacing: str) -> None:
        for record in self._in(zone_id):
            if record["id"] == replacing or record["name"] != values["name"]:
                continue
            kinds = {record["type"], values["type"]}
            if values["type"] in _HOST_TYPES and record["type"] in _HOST_TYPES and "CNAME" in kinds:
                raise ApiError(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
            if "CNAME" in kinds:
                raise ApiError(400, 81054, "A CNAME record with that host already exists.")
            if record["type"] == values["type"] and record["content"] == values["content"]:
                raise ApiError(400, 81058, "An identical record already exists.")

    def _insert(self, zone_id: str, values: dict[str, Any], *, locked: bool = False) -> Record:
        record_id = uuid.uuid4().hex
        record = {
            "id": record_id,
            "zone_id": zone_id,
            "zone_name": self._state["zones"][zone_id]["name"],
            "proxied": False,
            "proxiable": values["type"] in _HOST_TYPES,
            "comment": None,
            "tags": [],
            "settings": {},
            "meta": {"email_routing": True, "read_only": True} if locked else {},
            "created_on": _now(),
            "modified_on": _now(),
        } | values
        self._state["records"][record_id] = record
        return record

    def _replace(self, record: Record, values: dict[str, Any]) -> Record:
        for key in ("priority",):
            record.pop(key, None)
        record.update(values)
        record["modified_on"] = _now()
        return record

    def _save(self) -> None:
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._state), encoding="utf-8")
        temporary.replace(self._file)


def _check_token(headers: dict[str, str]) -> None:
    if headers.get("authorization") != f"Bearer {TOKEN}":
        raise ApiError(403, 9109, "Invalid access token")


def _raise_fault(fault: str) -> None:
    if fault == "drop":
        raise ConnectionAbortedError  # no answer
    faults = {
        "throttle": ApiError(429, 971, "Please wait and consider throttling your request speed"),
        "error": ApiError(503, 10000, "Internal server error"),
        "denied": ApiError(403, 10000, "Authentication error"),
    }
    if fault in faults:
        raise faults[fault]


def _now() -> str:
    return dt.datetime.fromtimestamp(time.time(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _envelope(*, result: Any = None, info: Any = None, errors: list[Any] | None = None) -> dict[str, Any]:
    document = {"success": not errors, "errors": errors or [], "messages": [], "result": result}
    return document | ({"result_info": info} if info else {})


def _page(items: list[Any], query: dict[str, str]) -> tuple[list[Any], dict[str, int]]:
    page, size = int(query.get("page", 1)), int(query.get("per_page", 100))
    here = items[(page - 1) * size : page * size]
    info = {"page": page, "per_page": size, "count": len(here), "total_count": len(items)}
    return here, info | {"total_pages": -(-len(items) // size)}


def _wanted(record: Record, query: dict[str, str]) -> bool:
    name = query.get("name.exact") or query.get("name")
    content = query.get("content.exact") or query.get("content")
    return (
        query.get("type") in (None, record["type"])
        and name in (None, record["name"])
        and content in (None, record["content"])
    )


def _stored_text(content: str) -> str:
    """Return TXT content as the API keeps it: as sent, except that a string over 255 bytes is split."""
    if not content.startswith('"'):
        return content
    strings = []
    for quoted in _QUOTED.findall(content):
        inner = quoted[1:-1]
        strings += [f'"{inner[i : i + _TXT_STRING]}"' for i in range(0, len(inner), _TXT_STRING)] or ['""']
    return " ".join(strings)
