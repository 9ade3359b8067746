"""AWS: the ministack emulator, kept on disk after every call and made honest where it is not."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from sandbox.world.internet import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sandbox.world.dns import Zones
    from sandbox.world.faults import Faults

_KEPT = ("s3", "cloudfront", "acm", "iam")
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/([a-z0-9-]+)/")
_AMAZON = {"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"}
_ISSUING_REGION = "us-east-1"


def configure(folder: Path) -> None:
    """Set ministack up, which it reads from the environment when it is imported."""
    os.environ |= {
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "aws"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "BIND_HOST": "127.0.0.1",
        "DOCKER_HOST": "unix:///nonexistent",
        "LOG_LEVEL": "WARNING",
    }


class Aws:
    """An ASGI application over ministack's."""

    def __init__(self, zones: Zones, faults: Faults, changed: Callable[[], None]) -> None:
        from ministack.app import app  # noqa: PLC0415  after `configure`

        self._app = app
        self._zones = zones
        self._faults = faults
        self._changed = changed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one API call: fault, refusal, or ministack's answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
        scope_match = _SCOPE.search(headers.get("authorization", ""))
        region, service = scope_match.groups() if scope_match else ("", "")
        target = headers.get("x-amz-target", "").rpartition(".")[2]
        call = f"{service} {scope['method']} {scope['path']} {target}".strip()
        fault = self._faults.for_call(call)
        if fault == "drop":
            raise ConnectionAbortedError
        refusal = _fault(fault) if fault and fault != "drop-after" else self._refusal(scope, service, body)
        if refusal is not None:
            await _answer(send, *refusal, service)
            return
        answers: list[Any] = []

        async def collect(message: Any) -> None:
            answers.append(message)

        await self._app(scope, _replay(body), collect)
        mutating = scope["method"] not in ("GET", "HEAD") and not target.startswith(("Describe", "List", "Get"))
        if service == "acm":
            if target == "RequestCertificate" and answers[0]["status"] == 200:  # noqa: PLR2004
                self._begin_validation(json.loads(_body(answers))["CertificateArn"], region)
            elif target == "DescribeCertificate":
                _add_failure_reason(answers)
        if mutating and service in _KEPT:
            _save(service)
            self._changed()
        if fault == "drop-after":
            raise ConnectionAbortedError
        for message in answers:
            await send(message)

    def validate_certificates(self) -> None:
        """Issue what is proved by DNS and allowed by CAA; called after every change of a record."""
        for certificate in certificates():
            if certificate["Status"] != "PENDING_VALIDATION":
                continue
            options = certificate["DomainValidationOptions"]
            if any(self._caa_forbids(option["DomainName"]) for option in options):
                certificate |= {"Status": "FAILED", "FailureReason": "CAA_ERROR"}
                continue
            for option in options:
                if self._proved(option["ResourceRecord"]):
                    option["ValidationStatus"] = "SUCCESS"
            if all(option["ValidationStatus"] == "SUCCESS" for option in options):
                certificate["Status"] = "ISSUED"
        _save("acm")

    def _begin_validation(self, arn: str, region: str) -> None:
        certificate = next(found for found in certificates() if found["CertificateArn"] == arn)
        certificate["Status"] = "PENDING_VALIDATION"
        certificate["_region"] = region
        certificate["DomainValidationOptions"] = [
            _validation_option(name) for name in certificate["SubjectAlternativeNames"]
        ]
        self.validate_certificates()

    def _proved(self, record: dict[str, str]) -> bool:
        here = self._zones.at(record["Name"].rstrip("."))
        return any(kind == "CNAME" and content == record["Value"] for kind, _, content in here)

    def _caa_forbids(self, name: str) -> bool:
        labels = name.split(".")
        for depth in range(len(labels)):
            caa = [text for kind, _, text in self._zones.at(".".join(labels[depth:])) if kind == "CAA"]
            issue = [text.split(None, 2)[2].strip('"') for text in caa if text.split(None, 2)[1] == "issue"]
            if caa:
                return bool(issue) and not any(value.split(";")[0].strip() in _AMAZON for value in issue)
        return False

    def _refusal(self, scope: Any, service: str, body: bytes) -> tuple[int, str, str] | None:
        """Refuse what CloudFront refuses and ministack lets pass."""
        path = scope["path"]
        creates = scope["method"] == "POST" and path.endswith("/distribution")
        updates = scope["method"] == "PUT" and path.endswith("/config") and "/distribution/" in path
        if service != "cloudfront" or not (creates or updates):
            return None
        root = ET.fromstring(body)  # noqa: S314  our own clients' requests
        own_id = "" if creates else path.split("/")[-2]
        aliases = set(alias_names(root))
        taken = {
            alias
            for distribution in distributions()
            if distribution["Id"] != own_id
            for alias in aliases_of(distribution)
        }
        if aliases & taken:
            name = min(aliases & taken)
            return 409, "CNAMEAlreadyExists", f"One or more of the CNAMEs is already associated: {name}"
        arn = next((element.text for element in root.iter() if _tag(element) == "ACMCertificateArn"), None)
        if not aliases:
            return None
        certificate = next((found for found in certificates() if found["CertificateArn"] == arn), None)
        if certificate is None or certificate["Status"] != "ISSUED" or certificate.get("_region") != _ISSUING_REGION:
            message = "The specified SSL certificate doesn't exist, isn't in us-east-1 region, or isn't valid."
            return 400, "InvalidViewerCertificate", message
        if not aliases <= set(certificate["SubjectAlternativeNames"]):
            message = "The certificate that is attached to your distribution doesn't cover the alternate domain name"
            return 400, "InvalidViewerCertificate", message
        return None


def distributions() -> list[dict[str, Any]]:
    """Return every distribution as ministack holds it."""
    from ministack.services import cloudfront  # noqa: PLC0415  after `configure`

    return list(cloudfront._distributions._data.values())  # noqa: SLF001  the emulator has no other way in


def functions() -> list[dict[str, Any]]:
    """Return every CloudFront function as ministack holds it."""
    from ministack.services import cloudfront  # noqa: PLC0415

    return list(cloudfront._functions._data.values())  # noqa: SLF001


def certificates() -> list[dict[str, Any]]:
    """Return every ACM certificate as ministack holds it."""
    from ministack.services import acm  # noqa: PLC0415

    return list(acm._certificates._data.values())  # noqa: SLF001


def read_object(bucket: str, key: str, source_arn: str) -> tuple[int, bytes, dict[str, str]]:
    """Read an object as CloudFront's origin access does: the bucket policy must allow that distribution."""
    from ministack.core.responses import set_request_account_id  # noqa: PLC0415
    from ministack.services import s3  # noqa: PLC0415

    set_request_account_id(ACCOUNT)
    policy = json.loads(s3._bucket_policies.get(bucket) or "{}")  # noqa: SLF001
    held = s3._buckets.get(bucket)  # noqa: SLF001
    allowed = any(_lets_read(statement, bucket, key, source_arn) for statement in policy.get("Statement", []))
    if held is None or not allowed or key not in held["objects"]:
        # Without s3:ListBucket a missing object is a refusal, not "not found".
        return 403, b"AccessDenied", {"content-type": "application/xml"}
    found = held["objects"][key]
    headers = {"content-type": found["content_type"], **found.get("preserved_headers", {})}
    body: bytes = s3._read_body(bucket, key, found)  # noqa: SLF001
    return 200, body, headers


def _lets_read(statement: dict[str, Any], bucket: str, key: str, source_arn: str) -> bool:
    actions = statement.get("Action")
    resources = statement.get("Resource")
    source = statement.get("Condition", {}).get("StringEquals", {}).get("AWS:SourceArn")
    return (
        statement.get("Effect") == "Allow"
        and statement.get("Principal") == {"Service": "cloudfront.amazonaws.com"}
        and "s3:GetObject" in ([actions] if isinstance(actions, str) else actions or [])
        and any(
            resource in (f"arn:aws:s3:::{bucket}/{key}", f"arn:aws:s3:::{bucket}/*")
            for resource in ([resources] if isinstance(resources, str) else resources or [])
        )
        and source == source_arn
    )


def config_of(distribution: dict[str, Any]) -> ET.Element:
    """Return a distribution's configuration."""
    return ET.fromstring(distribution["config_xml"])  # noqa: S314  what the emulator stored


def aliases_of(distribution: dict[str, Any]) -> list[str]:
    """Return the names a distribution answers to."""
    return alias_names(config_of(distribution))


def alias_names(root: ET.Element) -> list[str]:
    """Return the aliases in a distribution's XML."""
    aliases = next((element for element in root.iter() if _tag(element) == "Aliases"), None)
    if aliases is None:
        return []
    return [element.text.lower() for element in aliases.iter() if _tag(element) == "CNAME" and element.text]


def text_of(root: ET.Element, *path: str) -> str:
    """Return the text at a path of tag names, whatever their namespace; empty where there is none."""
    element: ET.Element | None = root
    for name in path:
        element = next((child for child in element if _tag(child) == name), None) if element is not None else None
    return (element.text or "") if element is not None else ""


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _validation_option(name: str) -> dict[str, Any]:
    """Return the CNAME that proves a name: the same for every certificate of one account, as at ACM."""
    token = hashlib.md5(f"{ACCOUNT} {name}".encode(), usedforsecurity=False).hexdigest()
    value = hashlib.md5(f"value {ACCOUNT} {name}".encode(), usedforsecurity=False).hexdigest()
    return {
        "DomainName": name,
        "ValidationDomain": name,
        "ValidationMethod": "DNS",
        "ValidationStatus": "PENDING_VALIDATION",
        "ResourceRecord": {
            "Name": f"_{token}.{name}.",
            "Type": "CNAME",
            "Value": f"_{value}.{token[:10]}.acm-validations.aws.",
        },
    }


def _add_failure_reason(answers: list[Any]) -> None:
    document = json.loads(_body(answers))
    shown = document.get("Certificate", {})
    held = next((found for found in certificates() if found["CertificateArn"] == shown.get("CertificateArn")), {})
    if held.get("FailureReason"):
        shown["FailureReason"] = held["FailureReason"]
        payload = json.dumps(document).encode()
        start = answers[0]
        start["headers"] = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        answers[:] = [start, {"type": "http.response.body", "body": payload}]


def _save(service: str) -> None:
    from importlib import import_module  # noqa: PLC0415

    from ministack.core.persistence import save_state  # noqa: PLC0415

    save_state(service, import_module(f"ministack.services.{service}").get_state())


def _fault(kind: str) -> tuple[int, str, str]:
    return {
        "denied": (403, "AccessDenied", "User is not authorized to perform this operation"),
        "throttle": (400, "ThrottlingException", "Rate exceeded"),
        "error": (500, "InternalFailure", "We encountered an internal error. Please try again."),
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


async def _read(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _body(answers: Iterable[Any]) -> bytes:
    return b"".join(message.get("body", b"") for message in answers if message["type"] == "http.response.body")


def decode_code(function: dict[str, Any]) -> str:
    """Return the code that a function's LIVE stage runs."""
    live = function.get("live_body") or function
    code = live["code"] if isinstance(live, dict) else live
    if isinstance(code, bytes):
        return code.decode()
    return code if "function" in code else base64.b64decode(code).decode()
