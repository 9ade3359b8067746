"""A domain's declaration: every problem at once, with path and way out; what is only untidy is normalised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_sts import MtaStsError, check_domain, check_domains, check_host, errors, resolve_domain
from mta_sts.domain_config import MxEntry

GOOD: dict[str, Any] = {"domain": "example.com", "mx": ["mx1.example.com"], "reports": "mailto:tls@example.com"}


def test_a_good_declaration_has_no_finding() -> None:
    """The baseline of the mutations below is clean."""
    assert [] == check_domain(GOOD)


@pytest.mark.parametrize(
    ("change", "rule", "path"),
    [
        ({"mx": []}, "mx-missing", "mx"),
        ({"mx": None, "mode": "enforce", "acknowledge": "x"}, "mx-missing", "mx"),
        ({"mx": "mx1.example.com"}, "mx-invalid", "mx"),
        ({"mx": ["mx.*.example.com"]}, "mx-wildcard", "mx[0]"),
        ({"mx": ["*.*.example.com"]}, "mx-wildcard", "mx[0]"),
        ({"mx": ["mx-*.example.com"]}, "mx-wildcard", "mx[0]"),
        ({"mx": ["mx1.example.com", "192.0.2.1"]}, "mx-address", "mx[1]"),
        ({"mx": ["2001:db8::1"]}, "mx-address", "mx[0]"),
        ({"mx": ["localhost"]}, "mx-single-label", "mx[0]"),
        ({"mx": ["*.com"]}, "mx-single-label", "mx[0]"),
        ({"mx": ["."]}, "mx-invalid", "mx[0]"),
        ({"mx": [7]}, "mx-invalid", "mx[0]"),
        ({"mx": [{"host": "mx1.example.com", "prio": 1}]}, "unknown-key", "mx[0].prio"),
        ({"mx": [{"host": "mx1.example.com", "preference": -1}]}, "preference-invalid", "mx[0].preference"),
        ({"mx": [{"host": "mx1.example.com", "preference": 65536}]}, "preference-invalid", "mx[0].preference"),
        ({"manage_mx": True}, "preference-missing", "mx[0]"),
        ({"manage_mx": True, "mx": [{"host": "*.example.com", "preference": 1}]}, "mx-not-manageable", "mx[0]"),
        (
            {"manage_mx": True, "mx": [{"host": "route1.mx.cloudflare.net", "preference": 1}]},
            "mx-not-manageable",
            "mx[0]",
        ),
        ({"max_age": 0}, "max-age-range", "max_age"),
        ({"max_age": -1}, "max-age-range", "max_age"),
        ({"max_age": 31557601}, "max-age-range", "max_age"),
        ({"max_age": "a week"}, "max-age-not-a-number", "max_age"),
        ({"max_age": True}, "max-age-not-a-number", "max_age"),
        ({"max_age": 86400.5}, "max-age-not-a-number", "max_age"),
        ({"mode": "enforced"}, "mode-unknown", "mode"),
        ({"mode": 1}, "mode-unknown", "mode"),
        ({"evidence": "clean"}, "evidence-invalid", "evidence"),
        ({"override": "abc"}, "override-invalid", "override"),
        ({"override": {"change": "abc"}}, "override-invalid", "override"),
        ({"override": {"change": "a-b", "reason": "x"}}, "override-invalid", "override"),
        ({"override": {"change": "abc", "reason": " "}}, "override-invalid", "override"),
        ({"override": {"change": "abc", "reason": "x", "until": 1}}, "override-invalid", "override"),
        ({"thresholds": {"days": 0}}, "thresholds-invalid", "thresholds"),
        ({"thresholds": {"weeks": 1}}, "thresholds-invalid", "thresholds"),
        ({"thresholds": 7}, "thresholds-invalid", "thresholds"),
        ({"mode": "enforce", "acknowledge": " "}, "acknowledge-invalid", "acknowledge"),
        ({"maxage": 86400}, "unknown-key", "maxage"),
        ({"ruf": "mailto:a@example.com"}, "unknown-key", "ruf"),
        ({"reports": "tls@example.com"}, "rua-invalid", "reports"),
        ({"reports": ["ftp://example.com/x"]}, "rua-scheme", "reports[0]"),
        ({"reports": []}, "rua-invalid", "reports"),
        ({"reports": ""}, "rua-invalid", "reports"),
        ({"reports": "mailto:a@example.com,mailto:b@example.com"}, "rua-unescaped", "reports"),
        ({"reports": "https://example.com/a;b"}, "rua-unescaped", "reports"),
        ({"domain": None}, "domain-missing", "domain"),
        ({"domain": "postmaster@example.com"}, "domain-invalid", "domain"),
        ({"domain": "https://example.com/"}, "domain-invalid", "domain"),
        ({"domain": "example"}, "domain-invalid", "domain"),
        ({"domain": "192.0.2.1"}, "domain-invalid", "domain"),
        ({"domain": "exa_mple.com"}, "domain-invalid", "domain"),
        ({"domain": ".".join(["a" * 60] * 4) + ".com"}, "domain-invalid", "domain"),
        ({"zone": "example.net"}, "zone-does-not-hold-domain", "zone"),
        ({"zone": "ample.com"}, "zone-does-not-hold-domain", "zone"),
        ({"zone": 1}, "zone-invalid", "zone"),
        ({"zone": "example.com", "zone_id": "z"}, "zone-twice", "zone_id"),
        ({"txt_ttl": 59}, "txt-ttl-invalid", "txt_ttl"),
        ({"mx_ttl": 86401}, "mx-ttl-invalid", "mx_ttl"),
        ({"epoch": "two words"}, "epoch-invalid", "epoch"),
        ({"tags": {str(number): "x" for number in range(11)}}, "tags-invalid", "tags"),
        ({"adopt": "yes"}, "adopt-invalid", "adopt"),
        ({"wait_limit": -1}, "wait-limit-invalid", "wait_limit"),
        ({"wait_limit": 86401}, "wait-limit-invalid", "wait_limit"),
        ({"cname_ttl": "300"}, "cname-ttl-invalid", "cname_ttl"),
        ({"manage_mx": 0}, "manage-mx-invalid", "manage_mx"),
        ({"zone_id": ""}, "zone-id-invalid", "zone_id"),
        ({"zone_id": 5}, "zone-id-invalid", "zone_id"),
        ({"host": "bucket"}, "host-invalid", "host"),
        ({"host": {"bucket": "b"}}, "host-invalid", "host"),
        ({"host": {"bucket": "b", "target": "https://x.cloudfront.net"}}, "host-invalid", "host"),
        ({"host": {"bucket": "", "target": "x.cloudfront.net"}}, "host-invalid", "host"),
        ({"host": {"bucket": object(), "target": "x.cloudfront.net"}}, "host-invalid", "host"),
        ({"reports": "https://[::1/x"}, "rua-invalid", "reports"),
        ({"reports": "mailto:a@example.com;ruf=mailto:b@example.com"}, "rua-unescaped", "reports"),
        ({"mx": [f"mx{number}.example.com" for number in range(4000)]}, "body-too-large", "mx"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(change: dict[str, Any], rule: str, path: str) -> None:
    """One mutation of a good declaration gives one error, at its path, by its rule."""
    assert [(rule, path)] == [(found.rule, found.path) for found in errors(check_domain(GOOD | change))]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"reports": None}, "reports-missing"),
        ({"max_age": 3600}, "max-age-short"),
        ({"cname_ttl": 3600}, "cname-ttl-long"),
        ({"cname_ttl": 3600, "wait_limit": 3599}, "cname-ttl-long"),
        ({"mode": "none", "mx": []}, "mx-missing"),
        ({"mx": ["mx1.example.com", "MX1.example.com."]}, "mx-twice"),
        ({"mx": [f"mx{number}.example.com" for number in range(500)]}, "body-large"),
    ],
)
def test_a_doubtful_setting_is_a_warning(change: dict[str, Any], rule: str) -> None:
    """What works but is rarely meant is shown and not refused."""
    assert [(rule, "warning")] == [(found.rule, found.severity) for found in check_domain(GOOD | change)]


def test_the_nearest_known_setting_is_named() -> None:
    """A typing error is answered with what was probably meant."""
    for key, near in (("maxage", "max_age"), ("rua", "reports"), ("ruf", "reports"), ("Domain", "domain")):
        (found,) = check_domain(GOOD | {key: "x"})
        assert f"did you mean {near}?" in found.message


def test_the_nearest_setting_of_an_mx_host_is_named() -> None:
    """Beside the domain's own settings, those inside `mx` and `history` are checked for typing errors."""
    (found,) = errors(check_domain(GOOD | {"mx": [{"host": "mx1.example.com", "pref": 10}]}))
    assert ("unknown-key", "mx[0].pref") == (found.rule, found.path)
    assert "did you mean preference?" in found.message


HOST: dict[str, Any] = {"domains": [{"domain": "example.com"}]}


@pytest.mark.parametrize(
    ("change", "rule", "path"),
    [
        ({"buckett": "policies"}, "unknown-key", "buckett"),
        ({"bucket": "Bad_Name"}, "bucket-invalid", "bucket"),
        ({"bucket": "a..b"}, "bucket-invalid", "bucket"),
        ({"bucket": "192.0.2.1"}, "bucket-invalid", "bucket"),
        ({"bucket": "ab"}, "bucket-invalid", "bucket"),
        ({"bucket": "a" * 64}, "bucket-invalid", "bucket"),
        ({"bucket": "policies-"}, "bucket-invalid", "bucket"),
        ({"bucket": ""}, "bucket-invalid", "bucket"),
        ({"bucket": object()}, "bucket-invalid", "bucket"),
        ({"certificate_names": 0}, "certificate-names-invalid", "certificate_names"),
        ({"certificate_names": 101}, "certificate-names-invalid", "certificate_names"),
        ({"certificate_names": 10.5}, "certificate-names-invalid", "certificate_names"),
        ({"certificate_names": True}, "certificate-names-invalid", "certificate_names"),
        ({"tags": ["team"]}, "tags-invalid", "tags"),
        ({"tags": {str(number): "x" for number in range(51)}}, "tags-invalid", "tags"),
        ({"domains": {"domain": "example.com"}}, "domains-invalid", "domains"),
        ({"domains": [{"domain": "example.com", "mode": "testing"}]}, "unknown-key", "domains[0].mode"),
        ({"domains": [{}]}, "domain-missing", "domains[0].domain"),
        ({"domains": [{"domain": "192.0.2.1"}]}, "domain-invalid", "domains[0].domain"),
        ({"domains": [{"domain": "example.com", "zone": "example.net"}]}, "zone-does-not-hold-domain",
         "domains[0].zone"),
        ({"domains": [{"domain": "example.com", "zone_id": 5}]}, "zone-id-invalid", "domains[0].zone_id"),
        ({"domains": [{"domain": "example.com", "zone": "example.com", "zone_id": "z"}]}, "zone-twice",
         "domains[0].zone_id"),
        ({"domains": [{"domain": "example.com"}, {"domain": "Example.com."}]}, "domain-twice", "domains[1].domain"),
    ],
)  # fmt: skip
def test_a_wrong_setting_of_a_policy_host_is_refused_by_name(change: dict[str, Any], rule: str, path: str) -> None:
    """One mutation of a good host gives one error, at its path, by its rule."""
    assert [(rule, path)] == [(found.rule, found.path) for found in errors(check_host(HOST | change))]


def test_a_good_policy_host_is_taken() -> None:
    """Whole numbers as other languages send them, None for what is left out, a zone's id that flows."""
    more = {"bucket": "my.policies-1", "certificate_names": 20.0, "tags": {str(number): "x" for number in range(50)}}
    assert [] == check_host({"domains": [{"domain": "example.com", "zone": None, "zone_id": object()}], **more})
    assert [] == check_host(dict.fromkeys(("domains", "bucket", "certificate_names", "tags")))


def test_the_host_of_a_stack_lists_no_domains() -> None:
    """It serves all of the stack's."""
    (found,) = check_host(HOST, lists_domains=False)
    assert ("unknown-key", "domains") == (found.rule, found.path)
    assert [] == check_host({"bucket": "policies"}, lists_domains=False)


def test_what_flows_from_other_resources_is_taken() -> None:
    """The zone's id and the shared host's target may be known only later; nothing else may."""
    later = object()
    assert [] == check_domain(GOOD | {"zone_id": later, "host": {"bucket": "policies", "target": later}})
    assert [] == check_domain(GOOD | {"zone_id": "z", "host": {"bucket": "policies", "target": "x.cloudfront.net"}})


def test_all_problems_of_all_domains_come_at_once() -> None:
    """A list is checked whole, and the same domain twice is found in any spelling."""
    findings = check_domains([GOOD | {"mode": "x", "max_age": 0}, GOOD | {"domain": "Example.COM."}, "example.net"])
    assert [
        ("mode-unknown", "domains[0].mode"),
        ("max-age-range", "domains[0].max_age"),
        ("not-a-mapping", "domains[2]"),
        ("domain-twice", "domains[1].domain"),
    ] == [(found.rule, found.path) for found in findings]


def test_untidy_names_are_normalised() -> None:
    """U-labels, upper case and trailing dots are taken and published as A-labels, lower case, without dot."""
    config = resolve_domain({"domain": "BÜCHER.example.", "mx": ["MX.Bücher。example。"], "zone": "Bücher.example"})
    assert ("xn--bcher-kva.example", (MxEntry("mx.xn--bcher-kva.example"),), "xn--bcher-kva.example") == (
        config.domain,
        config.mx,
        config.zone,
    )


@pytest.mark.parametrize(("mode", "max_age"), [("testing", 86400), ("enforce", 1209600), ("none", 86400)])
def test_defaults_depend_on_the_mode(mode: str, max_age: int) -> None:
    """The documented defaults, times in seconds."""
    config = resolve_domain(GOOD | {"mode": mode, "acknowledge": "tested"})
    assert (max_age, 300, 300, 300, 900, False) == (
        config.max_age,
        config.txt_ttl,
        config.mx_ttl,
        config.cname_ttl,
        config.wait_limit,
        config.manage_mx,
    )


def test_numbers_of_other_languages_are_taken() -> None:
    """A packaged component gets whole numbers as floats, and what is left out as None."""
    config = resolve_domain(GOOD | {"max_age": 86400.0, "epoch": 3.0, "adopt": None, "tags": None, "txt_ttl": 60.0})
    assert (86400, "3", 60) == (config.max_age, config.epoch, config.txt_ttl)
    sent = resolve_domain(GOOD | {"evidence": {"read": [{"reports": 8.0}]}, "thresholds": {"days": 3.0}})
    assert '{"read": [{"reports": 8}]}' == json.dumps(sent.evidence)
    assert '{"days": 3}' == json.dumps(sent.thresholds)


def test_resolving_raises_with_every_error() -> None:
    """What is refused is never resolved."""
    with pytest.raises(MtaStsError) as caught:
        resolve_domain({"domain": "x", "mode": "y"})
    assert 2 == len({found.path for found in caught.value.findings} & {"domain", "mode"})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "mode", "max_age", "zone", "zone_id", "host", "epoch", "tags", "txt_ttl", "x"]), values
    )
)
def test_any_declaration_is_judged(config: dict[str, Any]) -> None:
    """Whatever YAML holds, the check answers; and what it lets pass can be resolved and rendered."""
    if not errors(check_domain(config)):
        resolve_domain(config)


@given(st.dictionaries(st.sampled_from([*HOST, "bucket", "certificate_names", "tags", "x"]), values) | values)
def test_any_policy_host_is_judged(config: Any) -> None:
    """Whatever a program or a stack file gives, the check answers."""
    check_host(config)
    check_host(config, lists_domains=False)
