"""The HTTPS edge: what CloudFront would serve for a host name, by the deployed configuration and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import warnings
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import h11
from py_mini_racer import JSEvalException, MiniRacer

from mta_sts import certificate_matches
from mta_sts.fetch import WELL_KNOWN
from sandbox.world import aws_state

if TYPE_CHECKING:
    from sandbox.world.authority import Authority
    from sandbox.world.clock import Clock
    from sandbox.world.faults import Faults

_HANG = 3600.0
_TLS_FAULTS = ("expired", "not-yet-valid", "wrong-name", "self-signed", "missing-intermediate", "tls-1.0")
_ERROR = "text/html"
# A promise has settled when the evaluation ends: CloudFront gives functions nothing to wait for.
_CALL = """var __result; Promise.resolve().then(() => handler(%s)).then(
    result => { __result = JSON.stringify(result ?? 'no result'); },
    error => { __result = JSON.stringify(String(error)); }); 0"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Served:
    """What an edge that keeps nothing serves: for how many seconds another may keep it, and the S3 path behind it."""

    answer: Answer
    keep: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class _Route:
    """Where a request goes once the function has seen it."""

    distribution: dict[str, Any]
    behaviour: dict[str, Any]
    uri: str


class Edge:
    """Answers by Host name, with CloudFront's caching on the sandbox's clock."""

    def __init__(self, authority: Authority, clock: Clock, faults: Faults) -> None:
        self._authority = authority
        self._clock = clock
        self._faults = faults
        self._cached: dict[tuple[str, str], tuple[float, float, Answer]] = {}
        self._previous: dict[str, Answer] = {}
        self._latest: dict[str, Answer] = {}
        self._engines: dict[str, MiniRacer] = {}

    def names(self) -> set[str]:
        """Return the distributions' own names, which DNS leads here."""
        return {distribution["DomainName"].lower() for distribution in aws_state.distributions()}

    def served(self, host: str) -> Served:
        """Return what is served for a host's policy past every cache."""
        route = self._route(host, WELL_KNOWN)
        return route if isinstance(route, Served) else self._origin(route)

    def get(self, host: str, target: str) -> Answer:
        """Answer a request: from the cache while it may, else from the origin."""
        route = self._route(host, target)
        if isinstance(route, Served):
            return route.answer
        key = (route.distribution["Id"], route.uri)  # the function's rewrite is what the cache is asked for
        stored, expires, answer = self._cached.get(key, (0.0, 0.0, None))
        if answer is not None and expires > self._clock.now:
            age = str(int(self._clock.now - stored))
            return replace(answer, headers=answer.headers | {"x-cache": "Hit from cloudfront", "age": age})
        served = self._origin(route)
        if served.keep:
            self._cached[key] = (self._clock.now, self._clock.now + served.keep, served.answer)
        return served.answer

    def forget(self, distribution: str) -> None:
        """Drop what is cached of a distribution, as an invalidation does."""
        self._cached = {key: kept for key, kept in self._cached.items() if key[0] != distribution}

    def remember(self, host: str, latest: Answer) -> None:
        """Note what a host serves now, so that a stale edge has something to go on serving."""
        if latest.status == 200 and latest.body != self._latest.get(host, latest).body:  # noqa: PLR2004
            self._previous[host] = self._latest[host]
        if latest.status == 200:  # noqa: PLR2004
            self._latest[host] = latest

    def _distribution(self, host: str) -> dict[str, Any] | None:
        return next((found for found in aws_state.distributions() if host in aws_state.aliases_of(found)), None)

    def _route(self, host: str, target: str) -> _Route | Served:
        distribution = self._distribution(host)
        if distribution is None or not aws_state.enabled(distribution):
            return Served(_error(403, "The request could not be satisfied."))
        behaviour = aws_state.dataplane(distribution)["default_behavior"]
        uri, _, query = target.partition("?")
        arn = behaviour["functions"].get("viewer-request")
        if arn is None:
            return _Route(distribution, behaviour, uri)
        result = self._run(arn, host, uri, query)
        if isinstance(result, dict) and "statusCode" in result:
            return Served(_from_function(result))
        if not isinstance(result, dict) or "uri" not in result:
            return Served(_error(503, f"The CloudFront function failed: {result}"))
        return _Route(distribution, behaviour, result["uri"])

    def _run(self, arn: str, host: str, uri: str, query: str) -> Any:
        """Run a viewer-request function in a real JavaScript engine; return its result, or its error as text."""
        code = aws_state.live_code(arn)
        if code is None:
            return "it is not published"
        engine = self._engines.setdefault(code, MiniRacer())
        event = {
            "version": "1.0",
            "context": {"eventType": "viewer-request"},
            "viewer": {"ip": "127.0.0.1"},
            "request": {
                "method": "GET",
                "uri": uri,
                "querystring": {name: {"value": value} for name, value in parse_qsl(query, keep_blank_values=True)},
                "headers": {"host": {"value": host}},
                "cookies": {},
            },
        }
        try:
            engine.eval(code)
            engine.eval(_CALL % json.dumps(event))
        except JSEvalException as error:
            return str(error)
        return json.loads(str(engine.eval("__result")))

    def _origin(self, route: _Route) -> Served:
        """Read from S3, signed as the distribution where an origin access control says so."""
        origins = aws_state.dataplane(route.distribution)["origins"]
        origin = origins[route.behaviour["target_origin_id"]]
        bucket = origin["domain_name"].partition(".s3")[0]
        key = f"{origin['origin_path']}{route.uri}".lstrip("/")
        signed = aws_state.origin_access(origin["oac_id"])
        found = aws_state.read_object(bucket, key, route.distribution["ARN"] if signed else "")
        headers = {name: value for name, value in found.headers.items() if name != "content-type"}
        headers |= {"x-cache": "Miss from cloudfront"} if found.status == 200 else {"x-cache": "Error from cloudfront"}  # noqa: PLR2004
        answer = Answer(found.status, found.body, found.headers["content-type"], headers)
        keep = 0
        if found.status == 200:  # noqa: PLR2004
            limits = aws_state.cache_limits(route.distribution, route.behaviour)
            keep = _keep_seconds(limits, found.headers.get("cache-control", ""))
        return Served(answer, keep, f"{bucket}/{key}")

    async def start(self, address: str) -> int:
        """Listen on a free port of a loopback address and return it."""
        loop = asyncio.get_running_loop()
        refuse_all = self._authority.context(("edge.invalid",), "tls-1.0")
        refuse_all.sni_callback = self._choose

        def connect() -> asyncio.Protocol:
            old = "tls-1.0" in self._faults.edge.values()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                refuse_all.minimum_version = ssl.TLSVersion.TLSv1 if old else ssl.TLSVersion.TLSv1_2
                refuse_all.maximum_version = ssl.TLSVersion.TLSv1 if old else ssl.TLSVersion.MAXIMUM_SUPPORTED
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), self._serve, loop=loop)

        server = await loop.create_server(connect, address, 0, ssl=refuse_all)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _choose(self, connection: Any, name: str | None, _context: ssl.SSLContext) -> int | None:
        """Choose the certificate by SNI: the one that ACM issued for the distribution that has the name."""
        host = (name or "").lower()
        distribution = self._distribution(host)
        certificate = None if distribution is None else aws_state.certificate_of(distribution)
        names = () if certificate is None else tuple(certificate["SubjectAlternativeNames"])
        if certificate is None or certificate["Status"] != "ISSUED" or not certificate_matches(names, host):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        fault = self._faults.edge.get(host, "")
        connection.context = self._authority.context(names, fault if fault in _TLS_FAULTS else "")
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(16_384))
                elif isinstance(event, h11.Request):
                    await self._reply(connection, event, writer)
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return
        except (h11.ProtocolError, ConnectionError):
            return
        finally:
            writer.close()

    async def _reply(self, connection: h11.Connection, request: h11.Request, writer: asyncio.StreamWriter) -> None:
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        host = asked.get("host", "").lower().partition(":")[0]
        fault = self._faults.edge.get(host, "")
        if fault == "reset" or (fault == "ipv6-broken" and ":" in writer.get_extra_info("sockname")[0]):
            writer.transport.abort()
            return
        if fault == "slow":
            await asyncio.sleep(_HANG)
        answer = self._answer(host, request, fault, asked)
        headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "server": "CloudFront",
            "date": formatdate(time.time(), usegmt=True),
            "via": "1.1 sandbox.cloudfront.net (CloudFront)",
            "connection": "close",
            **answer.headers,
        }
        if fault == "endless":
            del headers["content-length"]
        writer.write(connection.send(h11.Response(status_code=answer.status, headers=list(headers.items()))) or b"")
        while fault == "endless":
            writer.write(connection.send(h11.Data(data=b"x-padding: y\n" * 4)) or b"")
            await writer.drain()
            await asyncio.sleep(0.05)
        if request.method != b"HEAD":
            sent = answer.body[: len(answer.body) // 2] if fault == "truncated" else answer.body
            writer.write(connection.send(h11.Data(data=sent)) or b"")
        if fault != "truncated":
            writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()

    def _answer(self, host: str, request: h11.Request, fault: str, asked: dict[str, str]) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return _error(403, "This distribution is not configured to allow the HTTP request method.")
        if fault == "bot-wall" and not asked.get("user-agent"):
            return _error(403, "Please identify yourself.")
        if fault == "browser-wall" and not asked.get("user-agent", "").startswith("Mozilla/"):
            return _error(403, "Please wait while we check your browser.")
        if fault == "stale" and host in self._previous:
            return self._previous[host]
        return _spoiled(self.get(host, request.target.decode("latin-1")), fault)


def _spoiled(answer: Answer, fault: str) -> Answer:
    spoiled = {
        "redirect": Answer(301, b"", headers={"location": "https://elsewhere.invalid/mta-sts.txt"}),
        "not-found": _error(404, "no such thing"),
        "forbidden": Answer(403, b"AccessDenied", "application/xml"),
        "wrong-type": replace(answer, content_type="text/html"),
        "byte-order-mark": replace(answer, body=b"\xef\xbb\xbf" + answer.body),
        "blank-line": replace(answer, body=answer.body.replace(b"\n", b"\n\n", 1)),
        "too-large": replace(answer, body=answer.body + b"x-padding: " + b"y" * 100_000 + b"\n"),
    }
    return spoiled.get(fault, answer)


def _error(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), _ERROR, {"x-cache": "Error from cloudfront"})


def _from_function(result: dict[str, Any]) -> Answer:
    """Return the response that a function made itself (CloudFront developer guide, functions event structure)."""
    headers = {name: str(value.get("value", "")) for name, value in (result.get("headers") or {}).items()}
    body = result.get("body") or ""
    if isinstance(body, dict):
        data = str(body.get("data", ""))
        content = base64.b64decode(data) if body.get("encoding") == "base64" else data.encode()
    else:
        content = str(body).encode()
    content_type = headers.pop("content-type", "text/plain")
    return Answer(
        int(result["statusCode"]),
        content,
        content_type,
        headers | {"x-cache": "FunctionGeneratedResponse from cloudfront"},
    )


def _keep_seconds(limits: tuple[int, int, int], cache_control: str) -> int:
    """Return how long an edge keeps an answer (CloudFront developer guide, "Manage how long content stays")."""
    least, default, most = limits
    directives = dict(part.partition("=")[::2] for part in cache_control.lower().replace(" ", "").split(","))
    if directives.keys() & {"no-store", "no-cache", "private"}:
        return least
    asked = directives.get("s-maxage") or directives.get("max-age")
    return default if asked is None else max(least, min(int(asked), most))
