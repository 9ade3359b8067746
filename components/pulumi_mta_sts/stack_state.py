"""What the stack's own state holds already. A program can't see it; the engine's own function can be asked."""

import time
from collections.abc import Mapping
from typing import Any

import pulumi

from mta_sts import Finding, MtaStsError
from pulumi_mta_sts.live import once_a_run

_FUNCTION = "pulumi:pulumi:readStackResourceOutputs"
_RECORD = "mta-sts:index:MtaSts$cloudflare:index/dnsRecord:DnsRecord"
_CERTIFICATE = "$aws:acm/certificate:Certificate"
_VALIDATION = "$aws:acm/certificateValidation:CertificateValidation"
_DISTRIBUTION = "$aws:cloudfront/distribution:Distribution"
_TRIES = 3
_PAUSE = 0.2


def names_in_state() -> frozenset[str]:
    """Return the names of the domains' DNS records that are in this stack's state.

    A record that is there must not be imported: its id in the state is not the one that an import takes, so the
    engine imports a second time, "replaces", and deletes the record, which is the same one, at Cloudflare.
    Raises MtaStsError where the state can't be read.
    """
    return frozenset(_of(_RECORD))


def in_state(name: str, kind: str, content: str) -> bool:
    """Whether a domain's record is in this stack's state, whoever touched it since: an MX by its host too.

    Where the state can't be read it is taken for another's.
    """
    try:
        records = _of(_RECORD).values()
    except MtaStsError:
        return False
    return any(
        (record.get("name"), record.get("type")) == (name, kind) and (kind != "MX" or record.get("content") == content)
        for record in records
    )


def certificate_in_state(name: str) -> frozenset[str]:
    """Return the names on a certificate of this stack's state, none where it is not there.

    Raises MtaStsError where the state can't be read.
    """
    certificate = _of(_CERTIFICATE).get(name, {})
    names = [certificate.get("domainName"), *(certificate.get("subjectAlternativeNames") or ())]
    return frozenset(str(each) for each in names if each)


def is_validated(name: str) -> bool:
    """Whether a certificate of this stack's state was seen issued, and an update waits for nothing.

    Where the state can't be read it is taken for one that was not.
    """
    try:
        certificate, validation = _of(_CERTIFICATE).get(name, {}), _of(_VALIDATION).get(f"{name}-validation", {})
    except MtaStsError:
        return False
    return bool(validation) and certificate.get("arn") == validation.get("certificateArn")


def distribution_target(name: str) -> str | None:
    """Return the target of a distribution of this stack's state: empty where it is not there, None if unreadable."""
    try:
        return str(_of(_DISTRIBUTION).get(name, {}).get("domainName") or "").lower()
    except MtaStsError:
        return None


def distribution_with(alias: str, but: str) -> str:
    """Return the name of a distribution of this stack's state that has an alias and another target, else nothing."""
    try:
        distributions = _of(_DISTRIBUTION).items()
    except MtaStsError:
        return ""
    having = [name for name, one in distributions if alias in (one.get("aliases") or ()) and one["domainName"] != but]
    return next(iter(having), "")


def _of(kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the outputs of the state's resources of one type, by name."""
    resources = once_a_run(("state",), _read).items()
    parts = [(urn.split("::"), resource) for urn, resource in resources]
    return {part[-1]: resource.get("outputs") or {} for part, resource in parts if part[2].endswith(kind)}


def _read() -> Mapping[str, Mapping[str, Any]]:
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    tries = 0
    while True:
        try:
            answer = pulumi.runtime.invoke(_FUNCTION, {"stackName": stack}).value
            return dict((answer or {})["outputs"])
        except Exception as error:
            tries += 1
            if tries < _TRIES:  # the engine may just be writing it: for a moment a file backend has none, or half of it
                time.sleep(_PAUSE)
                continue
            message = (
                f"the state of {stack} can't be read ({' '.join(str(error).split())[-200:]}), and a record that is in "
                "it must not be imported again, nor a domain fall off the policy host that it names; run it again (or "
                "leave `adopt` out where everything is adopted)"
            )
            raise MtaStsError("state", [Finding("state-unreadable", "", message)]) from error
