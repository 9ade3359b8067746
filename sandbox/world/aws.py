"""AWS: the ministack emulator, kept on disk after every call and made honest where it is not."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from ministack.app import app
from ministack.core.persistence import load_state, save_state

from mta_sts import certificate_matches
from sandbox.world import aws_state, certificates
from sandbox.world.asgi import break_off, loopback_only, read_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.world.dns import Zones
    from sandbox.world.edge import Edge
    from sandbox.world.faults import Faults

_KEPT = ("s3", "cloudfront", "acm", "iam")
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/([a-z0-9-]+)/")
_ISSUING_REGION = "us-east-1"
_CONFIG = re.compile(r"/distribution(?:/([^/]+)/config)?$")
_INVALIDATION = re.compile(r"/distribution/([^/]+)/invalidation$")

Refusal = tuple[int, str, str]  # status, code, message


class Aws:
    """An ASGI application over ministack's. `changed` is told the S3 path of what changed, empty for anything else."""

    def __init__(self, zones: Zones, edge: Edge, faults: Faults, changed: Callable[[str], None]) -> None:
        self._zones = zones
        self._edge = edge
        self._faults = faults
        self._changed = changed
        # Its own start-up would begin schedulers, container clean-up and more listeners.
        for service in _KEPT:
            if state := load_state(service):
                import_module(f"ministack.services.{service}").load_persisted_state(state)

    @loopback_only
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one API call: fault, refusal, or ministack's answer."""
        body = await read_body(receive)
        headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
        signed = _SCOPE.search(headers.get("authorization", ""))
        service = signed[2] if signed else ""
        target = headers.get("x-amz-target", "").rpartition(".")[2]
        fault = self._faults.for_call(f"{service} {scope['method']} {scope['path']} {target}".strip())
        if fault == "drop":
            await break_off(send)
            return
        refusal = _fault(fault, service) if fault and fault != "drop-after" else _refusal(scope, service, target, body)
        if refusal is not None:
            await _answer(send, *refusal, service)
            return
        status, answer_headers, answer = await self._ask(scope, body)
        if service == "acm":
            answer = self._honest(target, answer)
            answer_headers = [pair for pair in answer_headers if pair[0].lower() != b"content-length"]
        mutating = scope["method"] not in ("GET", "HEAD") and not target.startswith(("Describe", "List", "Get"))
        if mutating and service in _KEPT and status < 400:  # noqa: PLR2004
            _save(service)
            if invalidation := _INVALIDATION.search(scope["path"]):
                self._edge.forget(invalidation[1])
            self._changed(unquote(scope["path"]).lstrip("/") if service == "s3" else "")
        if fault == "drop-after":
            await break_off(send)
            return
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": answer})

    def validate_certificates(self) -> None:
        """Issue what may be issued now; called after every change of a record."""
        if certificates.validate(self._zones):
            _save("acm")

    async def _ask(self, scope: Any, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def collect(message: Any) -> None:
            messages.append(message)

        await app(scope, receive, collect)
        start, *rest = messages
        return start["status"], list(start["headers"]), b"".join(message.get("body", b"") for message in rest)

    def _honest(self, target: str, answer: bytes) -> bytes:
        document = json.loads(answer or b"{}")
        if target == "RequestCertificate" and "CertificateArn" in document:
            certificates.begin_validation(document["CertificateArn"])
            certificates.validate(self._zones)
        elif "Certificate" in document and target == "DescribeCertificate":
            document["Certificate"] = certificates.described(document["Certificate"])
            return json.dumps(document).encode()
        return answer


def _refusal(scope: Any, service: str, target: str, body: bytes) -> Refusal | None:
    """Refuse what AWS refuses and ministack lets pass."""
    method, path = scope["method"], scope["path"]
    if not service:
        return 403, "MissingAuthenticationToken", "Missing Authentication Token"
    if service == "acm" and target == "DeleteCertificate":
        arn = json.loads(body)["CertificateArn"]
        if certificates.users(arn):
            return 400, "ResourceInUseException", f"Certificate {arn} is in use."
    if service != "cloudfront":
        return None
    if method == "DELETE":
        return _in_use(path)
    found = _CONFIG.search(path)
    if found and method in ("POST", "PUT"):
        return _unfit(ET.fromstring(body), found[1])  # noqa: S314  our own clients' requests
    return None


def _in_use(path: str) -> Refusal | None:
    """Refuse to delete what a distribution still uses."""
    *_, kind, name = path.split("/")
    element, code = {
        "origin-access-control": ("OriginAccessControlId", "OriginAccessControlInUse"),
        "function": ("FunctionARN", "FunctionInUse"),
    }.get(kind, ("", ""))
    if name not in {used.rpartition("/")[2] for used in aws_state.used_by_distributions(element)}:
        return None
    return 409, code, "The resource is still used by a distribution."


def _unfit(root: ET.Element, own_id: str | None) -> Refusal | None:
    """Refuse a distribution with names of another, without a fitting certificate, or with an unpublished function."""
    for arn in aws_state.texts(root, "FunctionARN"):
        if aws_state.live_code(arn) is None:
            return 400, "InvalidFunctionAssociation", f"{arn} is not published to the LIVE stage."
    aliases = aws_state.alias_names(root)
    taken = {
        alias for held in aws_state.distributions() if held["Id"] != own_id for alias in aws_state.aliases_of(held)
    }
    if clash := taken.intersection(aliases):
        return 409, "CNAMEAlreadyExists", f"One or more of the CNAMEs is already associated: {', '.join(sorted(clash))}"
    if not aliases:
        return None
    arn = aws_state.certificate_arn(root)
    certificate = aws_state.certificate(arn)
    if certificate is None or certificate["Status"] != "ISSUED" or arn.split(":")[3] != _ISSUING_REGION:
        message = (
            "The specified SSL certificate doesn't exist, isn't in us-east-1 region, isn't valid, or isn't issued."
        )
        return 400, "InvalidViewerCertificate", message
    names = certificate["SubjectAlternativeNames"]
    if not all(certificate_matches(names, alias) for alias in aliases):
        message = "The certificate that is attached to your distribution doesn't cover the alternate domain name."
        return 400, "InvalidViewerCertificate", message
    return None


def _save(service: str) -> None:
    save_state(service, import_module(f"ministack.services.{service}").get_state())


def _fault(kind: str, service: str) -> Refusal:
    throttled = (503, "SlowDown", "Please reduce your request rate.")
    return {
        "denied": (403, "AccessDenied", "User is not authorized to perform this operation"),
        "throttle": throttled if service == "s3" else (400, "ThrottlingException", "Rate exceeded"),
        "error": (500, "InternalError", "We encountered an internal error. Please try again."),
    }[kind]


async def _answer(send: Any, status: int, code: str, message: str, service: str) -> None:
    if service == "acm":
        content_type, payload = "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message})
    elif service == "s3":
        content_type, payload = "application/xml", f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    else:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        content_type, payload = "text/xml", f"<ErrorResponse>{error}</ErrorResponse>"
    headers = [(b"content-type", content_type.encode()), (b"x-amzn-errortype", code.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload.encode()})
