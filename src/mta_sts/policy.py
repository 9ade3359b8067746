"""The policy file: parse what is served, check what is to be published, render it canonically (RFC 8461 §3.2)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mta_sts.findings import Finding, MtaStsError, Severity
from mta_sts.names import is_address, name_problem, to_ascii

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_AGE_LIMIT = 31_557_600
"""Seconds: the largest max_age (RFC 8461 §3.2)."""
MAX_AGE_FLOOR = 86_400
"""Seconds: below one day large senders ignore the policy or fetch it all the time."""
SIZE_LIMIT = 64_000
"""Bytes: what every sender reads; RFC 8461 §3.3 suggests 64 kilobytes, and some count them as 64,000."""

COMFORTABLE_SIZE = 10_000
"""Bytes: at least one sender in use cuts the body at 10 KB, and so reads another policy."""

_VERSION = "STSv1"
_KEYS = ("version", "mode", "mx", "max_age")
_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\Z")
# sts-policy-ext-value: visible ASCII or UTF-8, with inner spaces.
_VALUE = re.compile(r"[^\x00-\x1f\x7f]+\Z")
_MAX_AGE = re.compile(r"[0-9]{1,10}\Z")
_LINE_END = re.compile(r"\r\n|\n")


class Mode(StrEnum):
    """What a sender does with an MX host that does not match the policy (RFC 8461 §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as senders read it; `max_age` in seconds."""

    version: str
    mode: Mode
    mx: tuple[str, ...]
    max_age: int


def parse_policy(text: str | bytes) -> Policy:
    """Return the policy that a body states, read as RFC 8461 §3.2 says and no more leniently.

    Raises MtaStsError with every reason why a sender must not use it.
    """
    lines, findings = _lines(text)
    if any(finding.rule == "body-too-large" for finding in findings):
        raise MtaStsError("the policy is not valid", findings)  # RFC 8461 §3.3: nobody reads on
    fields: dict[str, tuple[str, str]] = {}
    patterns: list[str] = []
    for number, line in enumerate(lines, start=1):
        path = f"line {number}"
        name, value, finding = _field(line, path)
        if finding:
            findings.append(finding)
        elif name == "mx":
            patterns.append(value)
            findings += _grammar_of_mx(value, path)
        else:
            # RFC 8461 §3.2: of a repeated field other than mx, the first counts.
            fields.setdefault(name, (value, path))
    policy, field_findings = _policy(fields, patterns)
    findings += field_findings
    if findings or policy is None:
        raise MtaStsError("the policy is not valid", findings)
    return policy


def check_policy(text: str | bytes) -> list[Finding]:
    """Return why a body should not be published: what a sender refuses, and what some sender in use does.

    Stricter than `parse_policy`: keys in the usual order and once each, canonical patterns, no unknown key, no
    unusual layout, a max_age that senders honour.
    """
    try:
        policy = parse_policy(text)
    except MtaStsError as error:
        return list(error.findings)
    lines, _ = _lines(text)
    keys = [line.partition(":")[0] for line in lines]
    counted = Counter(keys)
    findings = [
        Finding(
            "repeated-key",
            key,
            f"{key} is given {count} times; senders differ in which one counts: give it once",
        )
        for key, count in counted.items()
        if key != "mx" and count > 1
    ]
    findings += [
        Finding(
            "unknown-key",
            key,
            f"{key} is no key of RFC 8461; some senders refuse it: remove it",
            Severity.WARNING,
        )
        for key in counted
        if key not in _KEYS
    ]
    findings += _check_order(keys)
    findings += _check_layout(text, lines)
    findings += check_size(_encoded(text))
    for pattern in policy.mx:
        findings += check_pattern(pattern, "mx")
        if pattern != to_ascii(pattern):
            message = f"{pattern!r} is not canonical; write {to_ascii(pattern)!r}"
            findings.append(Finding("mx-not-canonical", "mx", message, Severity.WARNING))
    findings += [
        Finding("mx-twice", "mx", f"{name} is listed {count} times; once is enough", Severity.WARNING)
        for name, count in Counter(map(to_ascii, policy.mx)).items()
        if count > 1
    ]
    findings += check_max_age(policy.max_age, policy.mode, "max_age")
    return findings if policy.mx else [*findings, none_without_mx()]


def none_without_mx() -> Finding:
    """Return the warning about mode none without any MX pattern: RFC 8461 §3.2 allows it, some senders do not."""
    message = (
        "mode none without mx is valid, but some senders refuse it, and go on with the policy that they hold: "
        "keep the patterns of the policy before"
    )
    return Finding("mx-missing", "mx", message, Severity.WARNING)


def _check_order(keys: Sequence[str]) -> list[Finding]:
    if keys[0] != "version":
        message = f"the first line is {keys[0]}; some senders want version there: move it up"
        return [Finding("version-not-first", "version", message)]
    ranks = [_KEYS.index(key) for key in keys if key in _KEYS]
    if ranks == sorted(ranks):
        return []
    message = "the keys are not in the order that senders are tested with; write version, mode, mx, max_age"
    return [Finding("key-order", "", message, Severity.WARNING)]


def _check_layout(text: str | bytes, lines: Sequence[str]) -> list[Finding]:
    """Return what the grammar allows and a simple parser may stumble over."""
    findings = []
    for number, line in enumerate(lines, start=1):
        name, _, value = line.partition(":")
        usual = f"{name}: " + value.strip(" \t")
        if line != usual:
            message = f"unusual white space in {line[:60]!r}; write {usual[:60]!r}"
            findings.append(Finding("white-space", f"line {number}", message, Severity.WARNING))
    if text[-1:] not in ("\n", b"\n"):
        message = "the last line does not end; some senders may drop it: end it with a line feed"
        findings.append(Finding("last-line-not-ended", f"line {len(lines)}", message, Severity.WARNING))
    return findings


def check_size(body: bytes) -> list[Finding]:
    """Return what is wrong with the size of a body that parses."""
    if len(body) <= COMFORTABLE_SIZE:
        return []
    message = f"the body has {len(body)} bytes, and some senders cut it at {COMFORTABLE_SIZE}; use fewer mx lines"
    return [Finding("body-large", "", message, Severity.WARNING)]


def check_pattern(pattern: str, path: str) -> list[Finding]:
    """Return what is wrong with one MX pattern, after normalisation (RFC 8461 §3.2, §4.1)."""
    name = to_ascii(pattern)
    if name in ("", "."):
        message = f"{pattern!r} names no host (a null MX says that the domain takes no mail); give an MX host"
        return [Finding("mx-invalid", path, message)]
    host = name.removeprefix("*.")
    if "*" in host:
        message = (
            f"{pattern!r}: a wildcard is the whole leftmost label and stands for exactly one label (RFC 8461 §4.1); "
            "write *.example.com, or list the hosts"
        )
        return [Finding("mx-wildcard", path, message)]
    if is_address(host):
        message = f"{pattern!r} is an IP address; give the host's name, certificates are checked against it"
        return [Finding("mx-address", path, message)]
    problem = name_problem(host)
    if problem:
        return [Finding("mx-invalid", path, f"{pattern!r} {problem}")]
    if "." not in host:
        message = f"{pattern!r} has a single label; give the full name of the host, such as mx1.example.com"
        return [Finding("mx-single-label", path, message)]
    return []


def check_max_age(max_age: int, mode: str, path: str) -> list[Finding]:
    """Return what is wrong with a max_age in seconds; a short one is a warning, 0 is refused."""
    if not 0 < max_age <= MAX_AGE_LIMIT:
        message = (
            f"max_age is {max_age}; give 1 to {MAX_AGE_LIMIT} seconds (RFC 8461 §3.2; several senders refuse 0), "
            "weeks are usual: 604800 or 1209600"
        )
        return [Finding("max-age-range", path, message)]
    if max_age < MAX_AGE_FLOOR and mode != Mode.NONE:
        message = f"max_age {max_age} is below a day, which large senders ignore; give at least {MAX_AGE_FLOOR}"
        return [Finding("max-age-short", path, message, Severity.WARNING)]
    return []


def render_policy(policy: Policy) -> bytes:
    """Return the canonical bytes of a policy: equal meaning gives equal bytes, and every sender in use accepts them.

    Raises MtaStsError where the policy must not be published.
    """
    # Before anything is written: a value of several lines would become several lines of the policy.
    findings = [finding for pattern in policy.mx for finding in check_pattern(pattern, "mx")]
    if policy.mode not in list(Mode):
        message = f"mode is {policy.mode!r}; give enforce, testing or none"
        findings.append(Finding("mode-unknown", "mode", message))
    if type(policy.max_age) is not int:
        findings.append(
            Finding("max-age-not-a-number", "max_age", f"max_age is {policy.max_age!r}; give whole seconds")
        )
    if findings:
        raise MtaStsError("the policy can't be published", findings)
    patterns = sorted({to_ascii(pattern) for pattern in policy.mx})
    lines = [
        f"version: {_VERSION}",
        f"mode: {policy.mode}",
        *(f"mx: {pattern}" for pattern in patterns),
        f"max_age: {policy.max_age}",
    ]
    body = ("\n".join(lines) + "\n").encode()
    findings = [finding for finding in check_policy(body) if finding.severity is Severity.ERROR]
    if findings:
        raise MtaStsError("the policy can't be published", findings)
    return body


def _encoded(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _lines(text: str | bytes) -> tuple[list[str], list[Finding]]:
    """Return the lines of a body, and what is wrong with the body as a whole."""
    if not isinstance(text, str | bytes):
        message = f"got {type(text).__name__}; give the body as text or bytes"
        raise MtaStsError("the policy is not valid", [Finding("not-text", "", message)])
    data = _encoded(text)
    if not data:
        return [], [Finding("body-empty", "", "the body is empty; write `version: STSv1`, mode, mx and max_age")]
    findings = []
    if len(data) > SIZE_LIMIT:
        # RFC 8461 §3.3: senders SHOULD limit what they read.
        message = f"the body has {len(data)} bytes, and senders read at most {SIZE_LIMIT}; use fewer mx lines"
        findings.append(Finding("body-too-large", "", message))
    if data.startswith(b"\xef\xbb\xbf"):
        findings.append(Finding("byte-order-mark", "", "the body begins with a byte order mark; save it without"))
        data = data[3:]
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        findings.append(Finding("not-utf-8", "", "the body is not UTF-8; save it as plain ASCII"))
        decoded = data.decode("utf-8", "replace")
    lines = _LINE_END.split(decoded)
    if lines[-1] == "":
        lines.pop()
    return lines, findings


def _field(line: str, path: str) -> tuple[str, str, Finding | None]:
    """Split `name: value`; white space may stand around the value, nowhere else (RFC 8461 §3.2)."""
    if not line.strip(" \t"):
        return "", "", Finding("blank-line", path, "a blank line is not allowed (RFC 8461 §3.2); remove it")
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon:
        return "", "", Finding("no-colon", path, f"{line[:60]!r} has no colon; write `key: value`")
    if not _FIELD_NAME.match(name):
        message = f"{name[:60]!r} is no key: letters, digits, `_`, `-`, `.`, at most 32, at the line's start"
        return "", "", Finding("bad-key", path, message)
    if not value:
        return "", "", Finding("empty-value", path, f"{name} has no value; give one or remove the line")
    if not _VALUE.match(value):
        return "", "", Finding("bad-value", path, f"the value of {name} has control characters; remove them")
    return name, value, None


def _grammar_of_mx(value: str, path: str) -> list[Finding]:
    """Check `["*."] Domain` in A-labels, without trailing dot (RFC 8461 §3.2)."""
    host = value.removeprefix("*.").lower()
    # An address passes the RFC's grammar; check_policy refuses it.
    problem = "" if is_address(host) and host.isascii() and "[" not in host else name_problem(host)
    if host.endswith(".") or problem:
        message = f"mx {value!r} {problem or 'ends with a dot'}; write a host name or `*.` and a host name in A-labels"
        return [Finding("mx-invalid", path, message)]
    return []


def _policy(fields: dict[str, tuple[str, str]], patterns: Sequence[str]) -> tuple[Policy | None, list[Finding]]:
    findings: list[Finding] = []

    def field(name: str, expected: str) -> tuple[str, str]:
        if name not in fields:
            findings.append(Finding(f"{name.replace('_', '-')}-missing", name, f"{name} is missing; {expected}"))
        return fields.get(name, ("", name))

    version, path = field("version", "begin with `version: STSv1`")
    if version and version != _VERSION:
        findings.append(Finding("version-unknown", path, f"version is {version!r}; only STSv1 exists"))
    mode, path = field("mode", "give enforce, testing or none")
    if mode and mode not in list(Mode):
        findings.append(Finding("mode-unknown", path, f"mode is {mode!r}; give enforce, testing or none"))
    max_age, path = field("max_age", "give seconds, such as `max_age: 604800`")
    if max_age and not _MAX_AGE.match(max_age):
        findings.append(Finding("max-age-not-a-number", path, f"max_age is {max_age!r}; give whole seconds"))
    elif max_age and int(max_age) > MAX_AGE_LIMIT:
        # Judged: the prose maximum of RFC 8461 §3.2 binds; some senders clamp, most refuse.
        findings.append(Finding("max-age-range", path, f"max_age is {max_age}; at most {MAX_AGE_LIMIT}"))
    if mode in (Mode.ENFORCE, Mode.TESTING) and not patterns and "mx" not in fields:
        message = f"mode {mode} needs at least one mx line (RFC 8461 §3.2)"
        findings.append(Finding("mx-missing", "mx", message))
    if findings:
        return None, findings
    return Policy(version, Mode(mode), tuple(patterns), int(max_age)), findings
