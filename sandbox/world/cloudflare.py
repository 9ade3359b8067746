"""The part of Cloudflare's API v4 that the provider and our tools use: zones and DNS records, on disk."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sandbox.world.asgi import break_off, loopback_only, read_body
from sandbox.world.internet import TOKEN, ZONES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox.world.faults import Faults

Record = dict[str, Any]

_COMMENT_LIMIT = 100  # characters, free plan
_TXT_STRING = 255
_HOST_TYPES = ("A", "AAAA", "CNAME")
_TXT_LIMIT = 2048
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_FILTERS = {"type", "name", "name.exact", "content", "content.exact", "page", "per_page"}
_AS_SENT = ("type", "name", "content", "ttl", "priority", "proxied", "comment", "tags", "settings")


class ApiError(Exception):
    """An answer other than success: HTTP status, Cloudflare's code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


class Cloudflare:
    """The zones and records, and the API over them (an ASGI application)."""

    def __init__(self, file: Path, faults: Faults, changed: Callable[[set[tuple[str, str]]], None]) -> None:
        """Load the zones, or make the world's; `changed` is told (type, name) of the records that a call touches."""
        self._file = file
        self._faults = faults
        self._changed = changed
        self._touched: set[tuple[str, str]] = set()
        self._by_name: dict[str, dict[str, Record]] = {}
        self._above: Counter[str] = Counter()  # how many records stand below a name
        self._state: dict[str, dict[str, Any]] = {"zones": {}, "records": {}}
        if file.exists():
            self._restore(json.loads(file.read_text(encoding="utf-8")))
            return
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

    def at(self, name: str) -> list[Record]:
        """Return the records at exactly this name."""
        return list(self._by_name.get(name, {}).values())

    def exists(self, name: str) -> bool:
        """Whether a name holds records or stands above one that does (an empty non-terminal, RFC 8020)."""
        return name in self._by_name or self._above[name] > 0

    @loopback_only
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one API call."""
        body = await read_body(receive)
        method, path = scope["method"], scope["path"].removeprefix("/client/v4")
        headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
        query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        fault = self._faults.for_call(f"cloudflare {method} {path} {body.decode('utf-8', 'replace')}")
        if fault == "drop":
            await break_off(send)
            return
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
        except (ValueError, AttributeError, TypeError):
            status, document = 400, _envelope(errors=[{"code": 9207, "message": "Request body is invalid."}])
        if fault == "drop-after":
            await break_off(send)  # done, but the caller never hears of it
            return
        answer_headers = [(b"content-type", b"application/json"), *extra]
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    def _route(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[Any, Any]:
        parts = path.strip("/").split("/")
        match (method, *parts):
            case ("GET", "zones"):
                zones = [zone for zone in self._state["zones"].values() if query.get("name") in (None, zone["name"])]
                return _page(zones, query)
            case ("GET", "zones", zone_id):
                return self._zone(zone_id), None
            case ("GET", "zones", zone_id, "dns_records"):
                return _page(self._list(zone_id, query), query)
            case (_, "zones", zone_id, "dns_records", *rest):
                with self._changing():
                    return self._record(method, zone_id, rest, body), None
        raise ApiError(404, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")

    def _list(self, zone_id: str, query: dict[str, str]) -> list[Record]:
        self._zone(zone_id)
        if unknown := set(query) - _FILTERS:
            raise ApiError(400, 1004, f"The sandbox does not filter by {', '.join(sorted(unknown))}")
        name = query.get("name.exact") or query.get("name")
        found = self.records if name is None else self.at(name.lower())
        return [record for record in found if record["zone_id"] == zone_id and _wanted(record, query)]

    def _record(self, method: str, zone_id: str, rest: list[str], body: dict[str, Any]) -> Any:
        if method == "POST" and not rest:
            return self._create(zone_id, body)
        if method == "POST" and rest == ["batch"]:
            return self._batch(zone_id, body)
        return self._one(method, zone_id, rest[0] if rest else "", body)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Write down what was done, then tell."""
        self._touched = set()
        yield
        if self._touched:
            self._save()
            self._changed(self._touched)

    def _batch(self, zone_id: str, body: dict[str, Any]) -> dict[str, list[Any]]:
        """Do deletes, patches, puts and posts, in this order whatever theirs in the request; all or nothing."""
        before = {record_id: dict(record) for record_id, record in self._state["records"].items()}
        done: dict[str, list[Any]] = {}
        try:
            for kind, method in (("deletes", "DELETE"), ("patches", "PATCH"), ("puts", "PUT")):
                done[kind] = [self._one(method, zone_id, str(asked.get("id")), asked) for asked in body.get(kind) or []]
            done["posts"] = [self._create(zone_id, asked) for asked in body.get("posts") or []]
        except ApiError:
            self._restore({"zones": self._state["zones"], "records": before})
            raise
        return done

    def _create(self, zone_id: str, body: dict[str, Any]) -> Record:
        return self._insert(zone_id, self._checked(zone_id, body))

    def _one(self, method: str, zone_id: str, record_id: str, body: dict[str, Any]) -> Any:
        self._zone(zone_id)
        record = self._state["records"].get(record_id)
        if record is None or record["zone_id"] != zone_id:
            raise ApiError(404, 81044, "Record does not exist.")
        if method == "GET":
            return record
        if record["meta"].get("email_routing"):
            raise ApiError(400, 890, "This record is managed by Email Routing. Disable Email Routing to modify it.")
        if method == "DELETE":
            self._take_out(record)
            return {"id": record_id}
        if method not in ("PATCH", "PUT"):
            raise ApiError(405, 10405, f"Method not allowed: {method}")
        kept = {name: record[name] for name in _AS_SENT if name in record} if method == "PATCH" else {}
        values = self._checked(zone_id, {**kept, **body}, replacing=record_id)
        self._take_out(record)
        record.pop("priority", None)
        record |= values | {"modified_on": _now()}
        return self._put_in(record)

    def _put_in(self, record: Record) -> Record:
        self._state["records"][record["id"]] = record
        name = record["name"]
        self._by_name.setdefault(name, {})[record["id"]] = record
        self._above.update(_ancestors(name))
        self._touched.add((record["type"], name))
        return record

    def _take_out(self, record: Record) -> None:
        del self._state["records"][record["id"]]
        name = record["name"]
        del self._by_name[name][record["id"]]
        if not self._by_name[name]:
            del self._by_name[name]
        self._above.subtract(_ancestors(name))
        self._touched.add((record["type"], name))

    def _restore(self, state: dict[str, dict[str, Any]]) -> None:
        self._by_name.clear()
        self._above.clear()
        self._state = {"zones": state["zones"], "records": {}}
        for record in state["records"].values():
            self._put_in(record)

    def _zone(self, zone_id: str) -> dict[str, Any]:
        zone = self._state["zones"].get(zone_id)
        if zone is None:
            raise ApiError(404, 7003, "Could not route to the zone, perhaps your object identifier is invalid?")
        return dict(zone)

    def _checked(self, zone_id: str, body: dict[str, Any], replacing: str = "") -> dict[str, Any]:
        """Return the record's values as the API stores them; raises ApiError as it refuses them."""
        zone = self._zone(zone_id)["name"]
        name = str(body.get("name", "")).rstrip(".").lower()
        kind, content = str(body.get("type", "")), str(body.get("content") or "")
        if name == "@" or not name:
            name = zone
        if name != zone and not name.endswith(f".{zone}"):
            name = f"{name}.{zone}"
        if kind == "CAA" and isinstance(body.get("data"), dict):
            data = body["data"]
            content = f'{data.get("flags", 0)} {data.get("tag")} "{data.get("value")}"'
        content = _stored_text(content) if kind == "TXT" else content.rstrip(".") or content
        if not _fits(kind, content):
            raise ApiError(400, 9005, f"Content for {kind or 'a'} record is invalid.")
        ttl = int(body.get("ttl") or 1)
        if ttl != 1 and not 60 <= ttl <= 86_400:  # noqa: PLR2004  the API's limits
            raise ApiError(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
        comment = body.get("comment")
        if comment is not None and len(comment) > _COMMENT_LIMIT:
            raise ApiError(400, 9313, f"DNS record comment exceeds the limit of {_COMMENT_LIMIT} characters.")
        if body.get("tags"):
            raise ApiError(400, 9301, "DNS record has 1 tags, exceeding the quota of 0.")
        proxied = bool(body.get("proxied"))
        if proxied and kind not in _HOST_TYPES:
            raise ApiError(400, 9004, "This record type cannot be proxied.")
        values = {"name": name, "type": kind, "content": content, "ttl": 1 if proxied else ttl, "proxied": proxied}
        values |= {"comment": comment, "tags": [], "settings": body.get("settings") or {}}
        if kind == "MX":
            priority = body.get("priority")
            if priority is None or not 0 <= int(priority) <= 65_535:  # noqa: PLR2004  RFC 1035's 16 bits
                raise ApiError(400, 9102, "priority is a required field for this record type, 0 to 65535.")
            values["priority"] = int(priority)
        self._refuse_clash(zone_id, values, replacing)
        return values

    def _refuse_clash(self, zone_id: str, values: dict[str, Any], replacing: str) -> None:
        for record in self.at(values["name"]):
            if record["id"] == replacing or record["zone_id"] != zone_id:
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
        return self._put_in(record)

    def _save(self) -> None:
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._state), encoding="utf-8")
        temporary.replace(self._file)


def _check_token(headers: dict[str, str]) -> None:
    if headers.get("authorization") != f"Bearer {TOKEN}":
        raise ApiError(403, 9109, "Invalid access token")


def _raise_fault(fault: str) -> None:
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


def _fits(kind: str, content: str) -> bool:
    if kind in ("A", "AAAA"):
        try:
            return ipaddress.ip_address(content).version == (4 if kind == "A" else 6)
        except ValueError:
            return False
    if kind == "MX" and content.replace(".", "").isdigit():
        return False
    if kind == "TXT":
        return 0 < len(content) <= _TXT_LIMIT
    return kind in ("CAA", "CNAME", "MX", "NS") and bool(content)


def _ancestors(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[depth:]) for depth in range(1, len(labels))]


def _stored_text(content: str) -> str:
    """Return TXT content as the API keeps it: as sent, except that a string over 255 bytes is split."""
    if not content.startswith('"') and len(content) <= _TXT_STRING:
        return content
    strings = []
    for quoted in _QUOTED.findall(content) or [f'"{content}"']:
        inner = quoted[1:-1]
        strings += [f'"{inner[i : i + _TXT_STRING]}"' for i in range(0, len(inner), _TXT_STRING)] or ['""']
    return " ".join(strings)
