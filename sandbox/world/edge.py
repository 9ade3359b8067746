"""The HTTPS edge: what CloudFront would serve for a host name, by the deployed configuration and nothing else."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11
from py_mini_racer import MiniRacer

from sandbox.world import aws

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from sandbox.world.authority import Authority
    from sandbox.world.clock import Clock
    from sandbox.world.faults import Faults

PATH = "/.well-known/mta-sts.txt"
_MANAGED_TTL = {
    # Managed cache policies: (minimum, default, maximum) seconds.
    "4135ea2d-6df8-44a3-9df3-4b5a84be39ad": (0, 0, 0),  # CachingDisabled
    "658327ea-f89d-4fab-a63d-7e88639e58f6": (1, 86_400, 31_536_000),  # CachingOptimized
}
_TTL_DEFAULTS = {"MinTTL": 0, "DefaultTTL": 86_400, "MaxTTL": 31_536_000}
_HANG = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


class Edge:
    """Answers by Host name, with CloudFront's caching on the sandbox's clock."""

    def __init__(self, authority: Authority, clock: Clock, faults: Faults) -> None:
        self._authority = authority
        self._clock = clock
        self._faults = faults
        self._cached: dict[tuple[str, str], tuple[float, Answer]] = {}
        self._last: dict[str, Answer] = {}
        self._javascript: dict[str, MiniRacer] = {}

    def names(self) -> set[str]:
        """Return the distributions' own names, which DNS leads here."""
        return {distribution["DomainName"].lower() for distribution in aws.distributions()}

    def served(self, host: str, path: str = PATH) -> tuple[Answer, int]:
        """Return what an empty edge would serve for a host, and how many seconds an edge may keep it."""
        distribution = self._distribution(host)
        if distribution is None:
            return Answer(403, b"The distribution does not match the certificate"), 0
        config = aws.config_of(distribution)
        request, answer = self._run_function(config, host, path)
        if answer is not None:
            return answer, 0
        bucket = aws.text_of(_first_origin(config), "DomainName").split(".s3", 1)[0]
        prefix = aws.text_of(_first_origin(config), "OriginPath").strip("/")
        key = "/".join(part for part in (prefix, request.lstrip("/")) if part)
        status, body, headers = aws.read_object(bucket, key, distribution["ARN"])
        if status != 200:  # noqa: PLR2004
            return Answer(status, body, headers["content-type"]), 0
        return Answer(200, body, headers["content-type"]), _keep_seconds(config, headers.get("cache-control", ""))

    def get(self, host: str, path: str) -> Answer:
        """Answer a request: from the cache while it may, else from the origin."""
        fault = self._faults.edge.get(host, "")
        previous = self._last.get(host)
        if fault == "stale" and previous is not None:
            return previous
        kept = self._cached.get((host, path))
        if kept is not None and kept[0] > self._clock.now:
            answer = kept[1]
        else:
            answer, seconds = self.served(host, path)
            if seconds:
                self._cached[host, path] = (self._clock.now + seconds, answer)
        if fault != "stale" and answer.status == 200:  # noqa: PLR2004
            self._last[host] = answer
        return _spoiled(answer, fault)

    def _distribution(self, host: str) -> dict[str, Any] | None:
        return next((found for found in aws.distributions() if host in aws.aliases_of(found)), None)

    def _run_function(self, config: ET.Element, host: str, path: str) -> tuple[str, Answer | None]:
        """Run the viewer-request function, if one is set, in a real JavaScript engine."""
        arns = [element.text for element in config.iter() if element.tag.endswith("FunctionARN")]
        function = next((found for found in aws.functions() if found["arn"] in arns), None)
        if function is None:
            return path, None
        engine = self._javascript.get(function["arn"])
        if engine is None:
            engine = self._javascript[function["arn"]] = MiniRacer()
            engine.eval(aws.decode_code(function))
        event = {
            "version": "1.0",
            "context": {"eventType": "viewer-request"},
            "request": {
                "method": "GET",
                "uri": path,
                "querystring": {},
                "headers": {"host": {"value": host}},
                "cookies": {},
            },
        }
        result = json.loads(str(engine.eval(f"JSON.stringify(handler({json.dumps(event)}))")))
        if "statusCode" in result:
            return path, Answer(result["statusCode"], b"", "text/plain")
        return result["uri"], None

    async def start(self, address: str) -> int:
        """Listen on a free port of a loopback address and return it."""
        refuse_all = self._authority.context(("edge.invalid",))
        refuse_all.sni_callback = self._choose
        server = await asyncio.start_server(self._serve, address, 0, ssl=refuse_all)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _choose(self, connection: Any, name: str | None, _context: ssl.SSLContext) -> int | None:
        """Choose the certificate by SNI: only for names that ACM issued to a distribution that has the alias."""
        host = (name or "").lower()
        covered = any(
            certificate["Status"] == "ISSUED" and host in certificate["SubjectAlternativeNames"]
            for certificate in aws.certificates()
        )
        fault = self._faults.edge.get(host, "")
        if not covered or self._distribution(host) is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        kinds = ("expired", "not-yet-valid", "wrong-name", "self-signed")
        connection.context = self._authority.context((host,), fault if fault in kinds else "")
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
        host = dict(request.headers).get(b"host", b"").decode().lower().split(":")[0]
        fault = self._faults.edge.get(host, "")
        if fault == "reset":
            writer.transport.abort()
            return
        if fault == "slow":
            await asyncio.sleep(_HANG)
        answer = self.get(host, request.target.decode())
        headers = [("content-type", answer.content_type), ("server", "CloudFront"), *answer.headers]
        if fault != "endless":
            headers.append(("content-length", str(len(answer.body))))
        headers.append(("connection", "close"))
        writer.write(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
        while fault == "endless":
            writer.write(connection.send(h11.Data(data=b"x-padding: y\n" * 4)) or b"")
            await writer.drain()
            await asyncio.sleep(0.05)
        if request.method != b"HEAD":
            writer.write(connection.send(h11.Data(data=answer.body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()


def _spoiled(answer: Answer, fault: str) -> Answer:
    spoiled = {
        "redirect": Answer(301, b"", headers=(("location", "https://elsewhere.invalid/mta-sts.txt"),)),
        "not-found": Answer(404, b"no such thing"),
        "forbidden": Answer(403, b"AccessDenied", "application/xml"),
        "wrong-type": Answer(answer.status, answer.body, "text/html"),
        "byte-order-mark": Answer(answer.status, b"\xef\xbb\xbf" + answer.body),
        "blank-line": Answer(answer.status, answer.body.replace(b"\n", b"\n\n", 1)),
        "too-large": Answer(answer.status, answer.body + b"x-padding: " + b"y" * 100_000 + b"\n"),
    }
    return spoiled.get(fault, answer)


def _first_origin(config: ET.Element) -> ET.Element:
    origins = next(element for element in config.iter() if element.tag.endswith("Origins"))
    return next(element for element in origins.iter() if element.tag.rpartition("}")[2] == "Origin")


def _keep_seconds(config: ET.Element, cache_control: str) -> int:
    """Return how long an edge keeps an answer (CloudFront developer guide, "Manage how long content stays")."""
    behaviour = next(element for element in config if element.tag.endswith("DefaultCacheBehavior"))
    policy = aws.text_of(behaviour, "CachePolicyId")
    if policy:
        least, default, most = _MANAGED_TTL[policy]
    else:
        least, default, most = (int(aws.text_of(behaviour, name) or value) for name, value in _TTL_DEFAULTS.items())
    asked = next(
        (int(part.split("=")[1]) for part in cache_control.replace(" ", "").split(",") if part.startswith("max-age=")),
        None,
    )
    return default if asked is None else max(least, min(asked, most))
