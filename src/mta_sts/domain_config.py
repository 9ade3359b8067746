"""What is declared of one mail domain: checked, normalised, defaulted. Stack files, components and docs all use it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mta_sts.findings import Finding, MtaStsError, Severity, below, errors, unknown_keys
from mta_sts.history import check_history, history_versions
from mta_sts.names import LONGEST_NAME, name_problem, to_ascii
from mta_sts.policy import Mode, Policy, check_max_age, check_pattern, check_size, none_without_mx, render_policy
from mta_sts.records import check_rua

if TYPE_CHECKING:
    from mta_sts.ledger import PolicyVersion

DEFAULT_TTL = 300
"""Seconds: how long resolvers keep our records, and so the least time that a change takes to be seen."""
DEFAULT_WAIT_LIMIT = 900
"""Seconds that one step of an update may wait."""
DEFAULT_MAX_AGE = {Mode.TESTING: 86_400, Mode.NONE: 86_400, Mode.ENFORCE: 1_209_600}
"""Seconds by mode: short while little is at stake, two weeks for protection."""

_KEYS = (
    "domain", "mx", "mode", "max_age", "reports", "zone", "zone_id", "host", "manage_mx", "epoch", "acknowledge",
    "adopt", "history", "txt_ttl", "mx_ttl", "cname_ttl", "wait_limit", "tags", "evidence", "thresholds", "override",
)  # fmt: skip
_TTL_KEYS = ("txt_ttl", "mx_ttl", "cname_ttl")
_THRESHOLDS = ("days", "sessions", "organizations", "fresh_days")
_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")  # RFC 8461 §3.1
_EPOCH = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# Names of RFC 8460 for what is called `reports` here; no typing error, so difflib finds nothing.
_OTHER_NAMES = {"rua": "reports", "ruf": "reports"}
# What a stack file can hold. Anything else flows from another resource, and is known only when that one is made.
_PLAIN = (str, bool, int, float, Sequence, Mapping)
# Names that the component makes under the domain; the longest one limits the domain's length.
_LONGEST_PREFIX = "_smtp._tls."
_LONGEST_WAIT = 86_400
_LOCKED_MX = "*.mx.cloudflare.net"
_PREFERENCE_LIMIT = 65_535
_MOST_OBJECT_TAGS = 10
_MOST_TAGS = 50  # of any other resource at AWS
_HOST_KEYS = ("bucket", "certificate_names", "tags")
MOST_CERTIFICATE_NAMES = 100
"""Names on one certificate after a quota increase; 10 by default (ACM quotas)."""
_BUCKET = re.compile(r"(?!.*\.\.)(?![0-9.]+\Z)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")  # S3 bucket naming rules
_BUCKET_NAME = "3 to 63 lower-case letters, digits, hyphens and dots, with a letter or digit at both ends"


@dataclass(frozen=True, slots=True)
class MxEntry:
    """A pattern, or a host with the preference of its MX record.

    `checked` says who looked at a host that can't be looked at from where the program runs.
    """

    host: str
    preference: int | None = None
    checked: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """Who answers for a change that can't be proved safe: its id, as the refusal names it, and why it is right."""

    change: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfig:
    """One domain's declaration, normalised: A-labels, whole numbers, defaults filled in; times in seconds."""

    domain: str
    mx: tuple[MxEntry, ...]
    mode: Mode
    max_age: int
    reports: tuple[str, ...]
    zone: str | None
    manage_mx: bool
    epoch: str | None
    acknowledge: str | None
    adopt: bool
    txt_ttl: int
    mx_ttl: int
    cname_ttl: int
    wait_limit: int
    target: str | None = None
    """Where `mta-sts` leads by CNAME, where the configuration states it and it does not flow from a resource."""
    thresholds: Mapping[str, int] = field(default_factory=dict, hash=False)
    """What evidence must reach, by field of `mta_sts.evidence.Thresholds`; those left out keep their defaults."""
    evidence: Mapping[str, Any] | None = field(default=None, hash=False)
    """The document of the evidence file, for the step from testing to enforce."""
    history: tuple[PolicyVersion, ...] = field(default=(), hash=False)
    """What senders may hold from before the domain came here, newest first."""
    override: Override | None = None
    """The one change that may go on without proof."""

    @property
    def policy(self) -> Policy:
        """The policy that is declared."""
        patterns = tuple(sorted({entry.host for entry in self.mx}))
        return Policy("STSv1", self.mode, patterns, self.max_age)


def check_domains(configs: Sequence[Any]) -> list[Finding]:
    """Return everything that is wrong with a list of declared domains, with paths `domains[i].…`."""
    findings = [
        found for index, config in enumerate(configs) for found in below(f"domains[{index}]", check_domain(config))
    ]
    return findings + check_different(configs)


def check_host(config: Any, *, lists_domains: bool = True) -> list[Finding]:
    """Return everything that is wrong with a policy host's declaration, all at once.

    With `lists_domains` False it is a stack's host: it serves all of the stack's domains, and lists none.
    """
    known = ("domains", *_HOST_KEYS) if lists_domains else _HOST_KEYS
    if not isinstance(config, Mapping):
        return [Finding("not-a-mapping", "", f"got {_shown(config)}; give settings by name: {', '.join(known)}")]
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "bucket": (_is_bucket, f"a bucket's name: {_BUCKET_NAME}"),
        "certificate_names": (lambda value: _is_whole(value) and 1 <= value <= MOST_CERTIFICATE_NAMES,
                              f"the account's ACM quota, 1 to {MOST_CERTIFICATE_NAMES}"),
        "tags": (lambda value: _are_tags(value, _MOST_TAGS), f"at most {_MOST_TAGS} tags, texts by name"),
    }  # fmt: skip
    findings = [*unknown_keys(config, known, "a policy host"), *_check_values(config, checks)]
    return findings + (_check_hosted(_given(config, "domains", [])) if lists_domains else [])


def _check_hosted(given: Any) -> list[Finding]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        message = f"got {_shown(given)}; give a list of domains, each as `domain: example.com`"
        return [Finding("domains-invalid", "domains", message)]
    findings: list[Finding] = []
    for index, entry in enumerate(given):
        place = f"domains[{index}]"
        if not isinstance(entry, Mapping):
            message = f"got {_shown(entry)}; give `domain: example.com`"
            findings.append(Finding("not-a-mapping", place, message))
            continue
        found = unknown_keys(entry, ("domain", "zone", "zone_id"), "a domain on a policy host")
        findings += below(place, [*found, *_check_name(entry), *_check_zone_id(entry)])
    return findings + check_different(given)


def check_different(configs: Sequence[Any]) -> list[Finding]:
    """Return the domains that a list declares more than once."""
    findings: list[Finding] = []
    first: dict[str, int] = {}
    for index, config in enumerate(configs):
        domain = config.get("domain") if isinstance(config, Mapping) else None
        if isinstance(domain, str) and first.setdefault(to_ascii(domain), index) != index:
            name = to_ascii(domain)
            message = f"{name} is declared twice, first as domains[{first[name]}]; keep one"
            findings.append(Finding("domain-twice", f"domains[{index}].domain", message))
    return findings


def check_domain(config: Any) -> list[Finding]:
    """Return everything that is wrong with one domain's declaration, errors and warnings, all at once."""
    if not isinstance(config, Mapping):
        return [Finding("not-a-mapping", "", f"got {_shown(config)}; give `domain: example.com` and its settings")]
    findings = unknown_keys(config, _KEYS, "a domain", _OTHER_NAMES)
    findings += _check_name(config)
    findings += _check_zone_id(config)
    mode, mode_findings = _check_mode(config)
    findings += mode_findings
    findings += _check_mx(config, mode)
    findings += _check_max_age(config, mode)
    findings += _check_reports(config, mode)
    findings += _check_acknowledged(config)
    findings += _check_settings(config)
    findings += check_history(config.get("history"))
    if not errors(findings):
        try:
            resolved = _resolve(config)
            body = render_policy(resolved.policy)
        except MtaStsError as error:
            findings += [replace(found, path="mx") for found in error.findings]
        else:
            findings += [replace(found, path="mx") for found in check_size(body)]
            findings += _check_waits(resolved)
    return findings


def resolve_domain(config: Mapping[str, Any]) -> DomainConfig:
    """Return a declaration normalised and with defaults; raises MtaStsError with every error found."""
    stopping = errors(check_domain(config))
    if stopping:
        raise MtaStsError(f"domain {config.get('domain')!r}", stopping)
    return _resolve(config)


def _resolve(config: Mapping[str, Any]) -> DomainConfig:
    mode = Mode(_given(config, "mode") or Mode.TESTING)
    reports = _given(config, "reports") or ()
    epoch = _given(config, "epoch")
    zone = _given(config, "zone")
    max_age = _given(config, "max_age")
    target = _given(config, "host", {}).get("target")
    return DomainConfig(
        domain=to_ascii(config["domain"]),
        mx=tuple(_entry(item) for item in _given(config, "mx") or ()),
        mode=mode,
        max_age=DEFAULT_MAX_AGE[mode] if max_age is None else int(max_age),
        reports=(reports,) if isinstance(reports, str) else tuple(reports),
        zone=to_ascii(zone) if zone else None,
        manage_mx=bool(_given(config, "manage_mx")),
        epoch=None if epoch is None else _text(epoch),
        acknowledge=_given(config, "acknowledge"),
        adopt=bool(_given(config, "adopt")),
        wait_limit=int(_given(config, "wait_limit", DEFAULT_WAIT_LIMIT)),
        target=to_ascii(target) if isinstance(target, str) else None,
        thresholds={key: int(value) for key, value in _given(config, "thresholds", {}).items()},
        evidence=_whole_numbers(_given(config, "evidence")),
        history=history_versions(_given(config, "history", ())),
        override=_override(_given(config, "override")),
        **{key: int(_given(config, key, DEFAULT_TTL)) for key in _TTL_KEYS},
    )


def _given(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """Return a setting; None, as other languages send for what is left out, counts as not given."""
    value = config.get(key)
    return default if value is None else value


def _text(value: Any) -> str:
    """Return a text setting that may have been sent as a number (other languages send 3 as 3.0)."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _whole_numbers(value: Any) -> Any:
    """Return plain data with whole numbers as such: other languages send 8 as 8.0, and a digest tells them apart."""
    if isinstance(value, Mapping):
        return {key: _whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _entry(item: Any) -> MxEntry:
    if isinstance(item, str):
        return MxEntry(to_ascii(item))
    preference = item.get("preference")
    return MxEntry(to_ascii(item["host"]), None if preference is None else int(preference), item.get("checked"))


def _override(given: Mapping[str, Any] | None) -> Override | None:
    return None if given is None else Override(_text(given["change"]), given["reason"])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004  one line


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number; a component in another language sends 86400 as 86400.0."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _check_name(config: Mapping[str, Any]) -> list[Finding]:
    domain = config.get("domain")
    if not isinstance(domain, str):
        return [Finding("domain-missing", "domain", f"got {_shown(domain)}; give the mail domain, such as example.com")]
    name = to_ascii(domain)
    problem = name_problem(name)
    if not problem and "." not in name:
        problem = "has a single label; give the whole mail domain, such as example.com"
    room = LONGEST_NAME - len(_LONGEST_PREFIX)
    if not problem and len(name) > room:
        problem = f"is {len(name)} characters long; {_LONGEST_PREFIX} must fit before it: at most {room}"
    if problem:
        return [Finding("domain-invalid", "domain", f"{domain!r} {problem}")]
    zone = config.get("zone")
    if zone is None:
        return []
    if not isinstance(zone, str) or name_problem(to_ascii(zone)):
        return [Finding("zone-invalid", "zone", f"got {_shown(zone)}; give the zone's name, such as example.com")]
    zone_name = to_ascii(zone)
    if name != zone_name and not name.endswith(f".{zone_name}"):
        message = f"zone {zone_name} does not hold {name}; give a zone that is a suffix of it, or leave `zone` out"
        return [Finding("zone-does-not-hold-domain", "zone", message)]
    return []


def _check_zone_id(config: Mapping[str, Any]) -> list[Finding]:
    findings = _check_values(config, {"zone_id": (_is_text_or_flows, "the id that Cloudflare shows for the zone")})
    if config.get("zone") is not None and config.get("zone_id") is not None:
        findings.append(Finding("zone-twice", "zone_id", "zone and zone_id are both given; give one"))
    return findings


def _check_mode(config: Mapping[str, Any]) -> tuple[Mode | None, list[Finding]]:
    given = _given(config, "mode", Mode.TESTING)
    if isinstance(given, str) and given in list(Mode):
        return Mode(given), []
    near = difflib.get_close_matches(str(given).lower(), list(Mode), n=1)
    nearest = f"; did you mean {near[0]}?" if near else ""
    return None, [Finding("mode-unknown", "mode", f"got {_shown(given)}; give testing, enforce or none{nearest}")]


def _check_mx(config: Mapping[str, Any], mode: Mode | None) -> list[Finding]:
    given = _given(config, "mx", [])
    if isinstance(given, str) or not isinstance(given, Sequence):
        return [Finding("mx-invalid", "mx", f"got {_shown(given)}; give a list of MX hosts")]
    if not given and mode == Mode.NONE:
        return [none_without_mx()]
    if not given:
        message = f"mode {mode or 'testing'} needs at least one MX host (RFC 8461 §3.2); list those of the MX records"
        return [Finding("mx-missing", "mx", message)]
    findings: list[Finding] = []
    seen: set[str] = set()
    managed = bool(_given(config, "manage_mx"))
    for index, item in enumerate(given):
        path = f"mx[{index}]"
        host = item.get("host") if isinstance(item, Mapping) else item
        if not isinstance(host, str):
            message = f"got {_shown(item)}; give a host name, *.name, or host and preference"
            findings.append(Finding("mx-invalid", path, message))
            continue
        findings += check_pattern(host, path)
        if to_ascii(host) in seen:
            message = f"{to_ascii(host)} is listed twice; once is enough"
            findings.append(Finding("mx-twice", path, message, Severity.ERROR if managed else Severity.WARNING))
        seen.add(to_ascii(host))
        if isinstance(item, Mapping):
            findings += _check_mx_mapping(item, path)
        if managed:
            findings += _check_managed(item, host, path)
    return findings


def _check_mx_mapping(item: Mapping[str, Any], path: str) -> list[Finding]:
    findings = below(path, unknown_keys(item, ("host", "preference", "checked"), "an MX host"))
    checked = item.get("checked")
    if checked is not None and not (isinstance(checked, str) and checked.strip()):
        message = f"got {_shown(checked)}; say who looked at the host, and when"
        findings.append(Finding("checked-invalid", f"{path}.checked", message))
    preference = item.get("preference")
    if preference is not None and not (_is_whole(preference) and 0 <= preference <= _PREFERENCE_LIMIT):
        message = f"got {_shown(preference)}; give 0 to {_PREFERENCE_LIMIT}, the lowest is tried first"
        findings.append(Finding("preference-invalid", f"{path}.preference", message))
    return findings


def _check_managed(item: Any, host: str, path: str) -> list[Finding]:
    name = to_ascii(host)
    if name.startswith("*."):
        message = f"{name} is a pattern, and manage_mx makes MX records; list the hosts, or leave manage_mx out"
        return [Finding("mx-not-manageable", path, message)]
    if name.endswith(_LOCKED_MX.removeprefix("*")):
        message = f"{name} belongs to Cloudflare Email Routing, which keeps its MX records itself; leave manage_mx out"
        return [Finding("mx-not-manageable", path, message)]
    if not isinstance(item, Mapping) or item.get("preference") is None:
        message = f"{name} has no preference, which its MX record needs; write `host: {name}` and `preference: 10`"
        return [Finding("preference-missing", path, message)]
    return []


def _check_max_age(config: Mapping[str, Any], mode: Mode | None) -> list[Finding]:
    given = _given(config, "max_age")
    if given is None:
        return []
    if not _is_whole(given):
        return [Finding("max-age-not-a-number", "max_age", f"got {_shown(given)}; give whole seconds, such as 604800")]
    return check_max_age(int(given), mode or Mode.TESTING, "max_age")


def _check_reports(config: Mapping[str, Any], mode: Mode | None) -> list[Finding]:
    given = _given(config, "reports")
    if given is None:
        if mode == Mode.NONE:
            return []
        message = (
            "no address for TLS reports: failures stay unseen; give reports: mailto:tls-reports@example.com (RFC 8460)"
        )
        return [Finding("reports-missing", "reports", message, Severity.WARNING)]
    uris = [given] if isinstance(given, str) else given
    if not isinstance(uris, Sequence) or not uris or not all(isinstance(uri, str) and uri for uri in uris):
        message = f"got {_shown(given)}; give one or more of mailto:… and https:…, or leave it out"
        return [Finding("rua-invalid", "reports", message)]
    single = isinstance(given, str)
    return [
        finding
        for index, uri in enumerate(uris)
        for finding in check_rua(uri, "reports" if single else f"reports[{index}]")
    ]


def _check_acknowledged(config: Mapping[str, Any]) -> list[Finding]:
    """Check the reason for enforce without evidence; whether one is needed depends on what is served now."""
    reason = config.get("acknowledge")
    if reason is None or (isinstance(reason, str) and reason.strip()):
        return []
    return [Finding("acknowledge-invalid", "acknowledge", f"got {_shown(reason)}; give the reason in words")]


def _check_settings(config: Mapping[str, Any]) -> list[Finding]:
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "manage_mx": (lambda value: isinstance(value, bool), "true or false"),
        "adopt": (lambda value: isinstance(value, bool), "true or false"),
        "epoch": (lambda value: _is_whole(value) or (isinstance(value, str) and bool(_EPOCH.match(value))),
                  "a number or 1 to 64 letters, digits, `.`, `_`, `-`; any change makes senders fetch again"),
        "wait_limit": (lambda value: _is_whole(value) and 0 <= value <= _LONGEST_WAIT,
                       f"seconds, from 0 to {_LONGEST_WAIT}"),
        "host": (_is_shared_host, f"the shared host's target, and its bucket: {_BUCKET_NAME}"),
        "thresholds": (_are_thresholds, f"whole numbers of 1 or more for some of {', '.join(_THRESHOLDS)}"),
        "evidence": (lambda value: isinstance(value, Mapping), "the document of a file that `mta-sts evidence` wrote"),
        "override": (_is_override, "`change`, the id as the refusal prints it, and a `reason` in words"),
        "tags": (_are_tags, f"at most {_MOST_OBJECT_TAGS} tags, texts by name (an S3 object takes no more)"),
        **dict.fromkeys(_TTL_KEYS, (_is_ttl, "seconds from 60 to 86400, or 1 for Cloudflare's automatic")),
    }  # fmt: skip
    return _check_values(config, checks)


def _check_waits(config: DomainConfig) -> list[Finding]:
    """Return the warning about a policy host's record that holds up each new id for longer than an update waits."""
    if config.cname_ttl <= config.wait_limit:
        return []
    message = (
        f"cname_ttl is {config.cname_ttl} s and wait_limit {config.wait_limit} s: for that TTL after the policy host's "
        "record was made, moved or changed no update can publish another id, not even to leave enforce; keep cname_ttl "
        "at wait_limit or below"
    )
    return [Finding("cname-ttl-long", "cname_ttl", message, Severity.WARNING)]


def _check_values(config: Mapping[str, Any], checks: Mapping[str, tuple[Callable[[Any], bool], str]]) -> list[Finding]:
    """Return a finding for each setting whose value is not accepted, with what is."""
    return [
        Finding(f"{key.replace('_', '-')}-invalid", key, f"got {_shown(config[key])}; give {expected}")
        for key, (accepts, expected) in checks.items()
        if config.get(key) is not None and not accepts(config[key])
    ]


def _is_ttl(value: Any) -> bool:
    return _is_whole(value) and (value == 1 or 60 <= value <= 86_400)  # noqa: PLR2004  Cloudflare's limits


def _is_text_or_flows(value: Any) -> bool:
    return bool(value) if isinstance(value, str) else value is not None and not isinstance(value, _PLAIN)


def _is_shared_host(value: Any) -> bool:
    """Whether a value is `{bucket, target}`; the bucket is plain, for the plan reads its history."""
    if not isinstance(value, Mapping) or set(value) != {"bucket", "target"}:
        return False
    bucket, target = value["bucket"], value["target"]
    named = not name_problem(to_ascii(target)) if isinstance(target, str) else _is_text_or_flows(target)
    return _is_bucket(bucket) and named


def _is_bucket(value: Any) -> bool:
    return isinstance(value, str) and bool(_BUCKET.match(value))


def _are_thresholds(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        key in _THRESHOLDS and _is_whole(number) and number >= 1 for key, number in value.items()
    )


def _is_override(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"change", "reason"}:
        return False
    change, reason = value["change"], value["reason"]
    identifies = _is_whole(change) or isinstance(change, str)  # an id may be all digits
    return identifies and bool(_ID.match(_text(change))) and isinstance(reason, str) and bool(reason.strip())


def _are_tags(value: Any, most: int = _MOST_OBJECT_TAGS) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) <= most
        and all(isinstance(key, str) and isinstance(text, str) for key, text in value.items())
    )
