"""The `_mta-sts` record (RFC 8461 §3.1) and the `_smtp._tls` record (RFC 8460 §3), and TXT presentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mta_sts.findings import Finding, MtaStsError, Severity
from mta_sts.names import name_problem, to_ascii

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STS_PREFIX = "v=STSv1;"
TLSRPT_PREFIX = "v=TLSRPTv1;"
_ASCII_END = 0x7F
_STRING_LIMIT = 255  # bytes of one character-string (RFC 1035 §3.3)

_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\Z")
# Visible ASCII but "=" and ";" (RFC 8461 §3.1, RFC 8460 §3).
_EXTENSION_VALUE = re.compile(r"[!-:<>-~]+\Z")
_DELIMITER = re.compile(r"[ \t]*;[ \t]*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+\Z")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StsRecord:
    """The discovery record: the id of the policy that stands at the policy host."""

    id: str


@dataclass(frozen=True, slots=True)
class TlsRptRecord:
    """Where senders report to."""

    rua: tuple[str, ...]


def stated_records(texts: Iterable[str], prefix: str) -> list[str]:
    """Return which TXT values at a name count: those that begin with `STS_PREFIX` or `TLSRPT_PREFIX` (§3 of both RFCs).

    The grammar of RFC 8461 allows white space before that `;`, its rule for what is dropped does not, nor erratum
    6285; of senders some see no record then (chasquid, mailpiece), others do (mox, postfix-tlspol).
    """
    return [text for text in texts if text.startswith(prefix)]


def parse_sts_record(text: str) -> StsRecord:
    """Return the record that one TXT value states (RFC 8461 §3.1); raises MtaStsError with every reason."""
    fields, findings = _fields(text, "v=STSv1")
    # Judged: of two ids the first counts, as §3.2 has it for the policy; some senders take the last.
    identifier = next((value for name, value in fields if name == "id"), None)
    if identifier is None:
        findings.append(Finding("id-missing", "id", "id is missing; write `v=STSv1; id=…;`"))
    elif not _ID.match(identifier):
        message = f"id is {identifier[:60]!r}; give 1 to 32 letters and digits (RFC 8461 §3.1)"
        findings.append(Finding("id-invalid", "id", message))
    findings += _bad_extensions(fields, ("id",))
    if findings or identifier is None:
        raise MtaStsError(f"no MTA-STS record: {text[:80]!r}", findings)
    return StsRecord(identifier)


def select_sts_record(texts: Iterable[str]) -> StsRecord:
    """Return the one MTA-STS record of a TXT RRset (RFC 8461 §3.1); raises MtaStsError where not exactly one is."""
    return parse_sts_record(_only(stated_records(texts, STS_PREFIX), STS_PREFIX))


def parse_tlsrpt_record(text: str) -> TlsRptRecord:
    """Return the record that one TXT value states (RFC 8460 §3); raises MtaStsError with every reason."""
    fields, findings = _fields(text, "v=TLSRPTv1")
    values = [value for name, value in fields if name == "rua"]
    if not values:
        message = "rua is missing; write `v=TLSRPTv1; rua=mailto:tls-reports@example.com`"
        findings.append(Finding("rua-missing", "rua", message))
    # Judged: RFC 8460 has no rule for a second rua field; all of them are read.
    uris = [uri.strip(" \t") for value in values for uri in value.split(",")]
    findings += [
        Finding("rua-invalid", f"rua[{index}]", f"{uri[:60]!r} is no URI; write mailto:… or https:…")
        for index, uri in enumerate(uris)
        if not _URI.match(uri)
    ]
    findings += _bad_extensions(fields, ("rua",))
    if findings:
        raise MtaStsError(f"no TLS reporting record: {text[:80]!r}", findings)
    return TlsRptRecord(tuple(uris))


def select_tlsrpt_record(texts: Iterable[str]) -> TlsRptRecord:
    """Return the one TLS reporting record of a TXT RRset (RFC 8460 §3); raises MtaStsError where not exactly one is."""
    return parse_tlsrpt_record(_only(stated_records(texts, TLSRPT_PREFIX), TLSRPT_PREFIX))


def render_sts_record(identifier: str) -> str:
    """Return the TXT value for an id; raises MtaStsError for one that senders would not take."""
    _must_be_text(identifier)
    text = f"v=STSv1; id={identifier};"
    parse_sts_record(text)
    return text


def render_tlsrpt_record(rua: Sequence[str]) -> str:
    """Return the TXT value for report addresses; raises MtaStsError for one that `check_rua` refuses."""
    findings = [finding for index, uri in enumerate(rua) for finding in check_rua(uri, f"rua[{index}]")]
    if not rua:
        findings = [Finding("rua-missing", "rua", "no address for reports; give mailto:… or https:…")]
    stopping = [finding for finding in findings if finding.severity is Severity.ERROR]
    if stopping:
        raise MtaStsError("the TLS reporting record can't be published", stopping)
    return f"v=TLSRPTv1; rua={','.join(rua)}"


def check_rua(uri: str, path: str) -> list[Finding]:
    """Return what is wrong with one report address (RFC 8460 §3)."""
    shown = f"{uri[:60]!r}"
    unescaped = sorted({character for character in uri if character in ",;!"})
    if unescaped:
        escapes = ", ".join(f"{character} as %{ord(character):02X}" for character in unescaped)
        message = f"{shown} holds {' '.join(unescaped)}: write {escapes}; several addresses are several list entries"
        return [Finding("rua-unescaped", path, message)]
    try:
        parts = urlsplit(uri if _URI.match(uri) else "")
    except ValueError:  # such as an unfinished address in brackets
        parts = urlsplit("")
    local, _, domain = parts.path.partition("@")
    if not parts.scheme:
        problem = "is no URI; write mailto:tls-reports@example.com or https://example.com/tls-reports"
    elif parts.scheme not in ("mailto", "https"):
        message = f"{shown} has the scheme {parts.scheme}; senders report to mailto: and https: only (RFC 8460 §3)"
        return [Finding("rua-scheme", path, message)]
    elif parts.scheme == "mailto" and (not local or name_problem(to_ascii(domain))):
        problem = "names no mailbox; write mailto:name@example.com"
    elif parts.scheme == "https" and not parts.hostname:
        problem = "names no host; write https://example.com/tls-reports"
    else:
        return []
    return [Finding("rua-invalid", path, f"{shown} {problem}")]


def txt_presentation(text: str) -> str:
    """Return a TXT value as quoted strings of at most 255 bytes each, joined by a space (RFC 1035 §3.3, §5.1)."""
    data = text.encode()
    chunks = [data[start : start + _STRING_LIMIT] for start in range(0, len(data), _STRING_LIMIT)] or [b""]
    return " ".join(f'"{"".join(map(_escaped, chunk))}"' for chunk in chunks)


def txt_value(presentation: str) -> str:
    """Return the value behind a presentation: strings joined with nothing between (RFC 8461 §3.1).

    Text without quotes is taken as it is: Cloudflare keeps what it was given.
    """
    if not presentation.startswith('"'):
        return presentation
    data = b"".join(_unescaped(quoted or bare) for quoted, bare in _QUOTED.findall(presentation))
    return data.decode("utf-8", "replace")


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if chr(byte).isprintable() and byte < _ASCII_END else f"\\{byte:03d}"


def _unescaped(text: str) -> bytes:
    def replace(match: re.Match[bytes]) -> bytes:
        escape = match.group(1)
        return bytes([int(escape) % 256]) if len(escape) == 3 else escape  # noqa: PLR2004  \DDD

    return _ESCAPE.sub(replace, text.encode("utf-8", "replace"))


def _fields(text: str, version: str) -> tuple[list[tuple[str, str]], list[Finding]]:
    """Split `version; name=value; …`: one trailing `;` is allowed, white space only around `;`."""
    _must_be_text(text)
    first, *rest = _DELIMITER.split(text)
    if first != version:
        message = f"begins with {first[:40]!r}; it must begin with `{version};`"
        return [], [Finding("version-unknown", "v", message)]
    if rest and rest[-1] == "":
        rest.pop()
    fields: list[tuple[str, str]] = []
    findings: list[Finding] = []
    for field in rest:
        name, equals, value = field.partition("=")
        if not equals or not _FIELD_NAME.match(name):
            message = f"{field[:60]!r} is no `name=value` field; remove it"
            findings.append(Finding("bad-field", name[:32], message))
        else:
            fields.append((name, value))
    return fields, findings


def _must_be_text(value: object) -> None:
    if not isinstance(value, str):
        raise MtaStsError("no usable TXT record", [Finding("not-text", "", f"got {type(value).__name__}; give text")])


def _bad_extensions(fields: Iterable[tuple[str, str]], known: Sequence[str]) -> list[Finding]:
    return [
        Finding(
            "bad-field",
            name,
            f"the value of {name} is {value[:60]!r}; visible ASCII but `=` and `;` may stand there",
        )
        for name, value in fields
        if name not in known and not _EXTENSION_VALUE.match(value)
    ]


def _only(texts: Sequence[str], prefix: str) -> str:
    if len(texts) != 1:
        message = f"{len(texts)} records begin with {prefix!r}; senders want exactly one"
        raise MtaStsError("no usable TXT record", [Finding("not-one-record", "", message)])
    return texts[0]
