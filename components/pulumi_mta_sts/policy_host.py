"""PolicyHost: the HTTPS host that serves MTA-STS policies, for one domain or many."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from mta_sts import Finding, Severity, check_host
from mta_sts.domain_config import MOST_CERTIFICATE_NAMES
from mta_sts.ledger import enforced_until, served_domains
from mta_sts.names import to_ascii
from pulumi_mta_sts import aws_access, dns
from pulumi_mta_sts.judgement import JudgedHost, ledger_as_warning, ledger_of
from pulumi_mta_sts.outside import outside
from pulumi_mta_sts.refusal import as_warning, collect, raise_together, warn
from pulumi_mta_sts.stack_state import certificate_in_state, is_validated
from pulumi_mta_sts.zone_contents import caa_findings, delegation_findings, find_zone_id, known_zones, live_id_at

CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
"""CloudFront's managed cache policy: an edge that keeps nothing can't serve yesterday's file under today's id."""

CERTIFICATE_REGION = "us-east-1"
"""Where a certificate for CloudFront must be, whatever region the bucket is in."""

_MOST_ALIASES = 100  # of one distribution (CloudFront quotas)
_LONGEST_FIRST_NAME = 64  # of a certificate: its common name (ACM)
_LONGEST_BUCKET_NAME = 63
_LONGEST_FUNCTION_NAME = 55  # 64 with the version behind it


class HostedDomain(TypedDict):
    """A domain whose policy the host serves."""

    domain: str
    """The mail domain, such as `example.com`."""
    zone: NotRequired[str | None]
    """The Cloudflare zone by name; by default the longest one that holds the domain."""
    zone_id: NotRequired[pulumi.Input[str] | None]
    """The Cloudflare zone by id, instead of by name."""


class PolicyHostArgs(TypedDict):
    """What a policy host serves, and from where."""

    domains: list[HostedDomain]
    """The domains served, plain data: they decide certificate and aliases."""
    bucket: NotRequired[str | None]
    """Name of the bucket that is made for the policies; by default from the component's name and the account."""
    certificate_names: NotRequired[int | None]
    """How many names the AWS account allows on one certificate: 10 by default, up to 100 after a quota increase."""
    tags: NotRequired[dict[str, str] | None]
    """Tags for everything that can carry them."""


class PolicyHost(pulumi.ComponentResource):
    """A private, versioned bucket behind one CloudFront distribution that serves each domain its own policy object."""

    bucket: pulumi.Output[str]
    """Name of the bucket that holds the policy objects and their versions."""
    target: pulumi.Output[str]
    """Name that each `mta-sts.DOMAIN` CNAME points at; known once the host can serve."""
    distribution_arn: pulumi.Output[str]
    """ARN of the CloudFront distribution."""
    certificate_arn: pulumi.Output[str]
    """ARN of the validated certificate."""

    _alone = False

    def __init__(self, name: str, args: PolicyHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create a policy host.

        Raises pulumi.InputPropertiesError, before anything is registered, where a certificate could not be issued.
        """
        judged = judge_host(name, args, opts, alone=self._alone)
        raise_together(judged.findings)
        warn(name, judged.findings)
        bucket_name, hosted = judged.bucket, judged.zone_ids
        super().__init__("mta-sts:index:PolicyHost", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=judged.protected))
        tags = args.get("tags")

        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=bucket_name,
            # The history in it ends with the bucket: nothing else may delete a version.
            force_destroy=True,
            tags=tags,
            opts=kept,
        )
        settings = _bucket_settings(name, bucket, child)
        validation = _certificate(name, hosted, tags, child, opts)
        distribution = _distribution(name, bucket_name, bucket, validation, sorted(hosted), tags=tags, child=child)
        reading = aws.s3.BucketPolicy(
            f"{name}-bucket-policy",
            bucket=bucket.id,
            policy=pulumi.Output.all(bucket.arn, distribution.arn).apply(lambda arns: bucket_policy(*arns)),
            # S3 refuses a policy that arrives while public access is being blocked (OperationAborted). Protected, it
            # keeps all of the host: the engine deletes nothing that it depends on.
            opts=pulumi.ResourceOptions.merge(kept, pulumi.ResourceOptions(depends_on=settings)),
        )

        self.bucket_name = bucket_name
        self.bucket = bucket.bucket
        # Whoever uses the target waits for all of the host.
        self.target = pulumi.Output.all(
            distribution.domain_name, reading.id, *[setting.id for setting in settings]
        ).apply(lambda known: str(known[0]))
        self.distribution_arn = distribution.arn
        self.certificate_arn = validation.certificate_arn
        self.register_outputs(
            {
                "bucket": self.bucket,
                "target": self.target,
                "distribution_arn": self.distribution_arn,
                "certificate_arn": self.certificate_arn,
            }
        )


def judge_host(
    name: str,
    args: PolicyHostArgs,
    opts: pulumi.ResourceOptions | None,
    *,
    path: str = "domains[{}].",
    alone: bool = False,
) -> JudgedHost:
    """Return what is known of a policy host at plan time, with every reason why it can't be made.

    `path` is how the place of a domain in the configuration is named. `alone` says that the host is one domain's own:
    it has no other to lose, so that one's brake does not wait for the stack's state.
    """
    findings = check_host(args)
    wrong = {finding.path.partition(".")[0] for finding in findings}
    if "" in wrong:  # no settings at all
        return JudgedHost("", findings=findings)
    bucket = "" if "bucket" in wrong else collect(findings, lambda: _bucket_name(name, args, opts), "")
    listed = [] if "domains" in wrong else args.get("domains") or []
    entries = {index: entry for index, entry in enumerate(listed) if f"domains[{index}]" not in wrong}
    known = known_zones([entry.get("zone_id") for entry in entries.values()], findings, opts)
    zone_ids: dict[str, pulumi.Input[str]] = {}
    places: dict[str, str] = {}
    for index, entry in entries.items():
        place = path.format(index)
        domain = to_ascii(entry["domain"])
        zone = entry.get("zone")
        zone_id, not_found = find_zone_id(domain, to_ascii(zone) if zone else None, entry.get("zone_id"), known)
        findings += [Finding(f.rule, f"{place}{f.path}", f.message, f.severity) for f in not_found]
        zone_ids[domain], places[domain] = zone_id, place
    kept: dict[str, pulumi.Input[str]] = {}
    protected = False
    if bucket and "domains" not in wrong:
        kept, protected = _kept(name, bucket, zone_ids, known, found=findings, alone=alone, opts=opts)
        zone_ids |= kept
    if not {"domains", "certificate_names"} & wrong:
        findings += _too_many(len(listed) + len(kept), args.get("certificate_names"))
    live, unreadable = dns.records(
        [zone_id for zone_id in zone_ids.values() if isinstance(zone_id, str) and zone_id], opts
    )
    findings += unreadable
    stopping = [
        replace(finding, path=f"{places[domain]}{finding.path}")
        for domain, zone_id in zone_ids.items()
        if domain not in kept
        for here in [live.get(zone_id, []) if isinstance(zone_id, str) else []]
        for finding in [
            *caa_findings(domain, here),
            *delegation_findings([_policy_host(domain)], here, known),
        ]
    ]
    if stopping and _stands(name, zone_ids):  # but it can't be renewed
        stopping = [as_warning(finding) for finding in stopping]
    findings += stopping
    if zone_ids and min(len(_policy_host(domain)) for domain in zone_ids) > _LONGEST_FIRST_NAME:
        message = (
            f"no policy host name is at most {_LONGEST_FIRST_NAME} characters long, as ACM demands of a certificate's "
            "first name; serve these domains together with a shorter one"
        )
        findings.append(Finding("certificate-name-too-long", "domains", message))
    return JudgedHost(bucket, zone_ids, findings, protected, distribution=f"{name}-distribution")


def _kept(
    name: str,
    bucket: str,
    zone_ids: Mapping[str, pulumi.Input[str]],
    known: Sequence[dns.Zone] | None,
    *,
    found: list[Finding],
    alone: bool,
    opts: pulumi.ResourceOptions | None,
) -> tuple[dict[str, pulumi.Input[str]], bool]:
    """Return the zones of domains that are served on though no longer listed, and whether the bucket is protected."""
    unread: list[Finding] = []
    unknown: tuple[dict[str, str], bool] = ({}, True)
    reasons, protected = collect(unread, lambda: _still_held(bucket, zone_ids, known, opts), unknown)
    # Each domain decides whether it can go on without the ledger (`judge`): the brake must not be held up here.
    found += [ledger_as_warning(finding) for finding in unread]
    if unread:
        served = {host.removeprefix(_policy_host("")) for host in _names_so_far(name, [] if alone else found)}
        reason = "what senders hold of it can't be told while its bucket can't be read"
        reasons = dict.fromkeys(sorted(served - zone_ids.keys()), reason)
    if reasons and known is None:
        known = collect(found, lambda: dns.zones(opts), None)
    kept: dict[str, pulumi.Input[str]] = {}
    problems: list[Finding] = []
    for domain, reason in reasons.items():
        kept_because = f"{domain} is no longer listed, but {reason}"
        message = (
            f"{kept_because}: it stays on this policy host, and its records are protected; declare it with "
            "`mode: none` and take it off after that"
        )
        found.append(Finding("domain-kept", "domains", message, Severity.WARNING))
        kept[domain], not_found = find_zone_id(domain, None, None, known)
        problems += [
            replace(finding, path="domains", message=f"{kept_because}; and {finding.message}") for finding in not_found
        ]
    if any(finding.rule == "zone-not-active" for finding in problems) and _stands(name, {**zone_ids, **kept}):
        problems = [as_warning(finding) if finding.rule == "zone-not-active" else finding for finding in problems]
    found += problems
    return kept, protected


def _stands(name: str, zone_ids: Mapping[str, pulumi.Input[str]]) -> bool:
    """Whether the certificate in the state is issued for these domains and no other: then no new one is asked for."""
    wanted = {_policy_host(domain) for domain in zone_ids}
    return _names_so_far(name, []) == wanted and is_validated(f"{name}-certificate")


def _names_so_far(name: str, findings: list[Finding]) -> frozenset[str]:
    """Return the names on the certificate that the state holds; where it can't be read, add that to `findings`."""
    none: frozenset[str] = frozenset()
    return collect(findings, lambda: certificate_in_state(f"{name}-certificate"), none)


def _still_held(
    bucket: str,
    zone_ids: Mapping[str, pulumi.Input[str]],
    known: Sequence[dns.Zone] | None,
    opts: pulumi.ResourceOptions | None,
) -> tuple[dict[str, str], bool]:
    """Return why domains that are no longer listed are served on, and whether senders may hold anything of the bucket.

    What counts are enforce policies. Raises MtaStsError where the bucket, or the zone of such a domain, can't be read.
    """
    now = outside().now()
    served = served_domains(aws_access.s3_client(opts), bucket)
    versions = ledger_of(served, bucket, opts)
    if known is None and any(domain not in zone_ids for domain in served):
        known = dns.zones(opts)
    zones = {domain: find_zone_id(domain, None, zone_ids.get(domain), known)[0] for domain in served}
    live, _ = dns.records([zone for zone in zones.values() if isinstance(zone, str) and zone], opts)
    kept = {}
    protected = False
    for domain, zone_id in zones.items():
        here = live.get(zone_id, []) if isinstance(zone_id, str) else []
        until = enforced_until(versions[domain], live_id_at(f"_mta-sts.{domain}", here), now)
        protected = protected or until != 0.0
        if until == 0.0 or domain in zone_ids:
            continue
        when = (
            datetime.fromtimestamp(until, UTC).isoformat(timespec="minutes") if until else "it publishes `mode: none`"
        )
        kept[domain] = f"senders may hold its enforce policy until {when}"
    return kept, protected


def _bucket_name(name: str, args: PolicyHostArgs, opts: pulumi.ResourceOptions | None) -> str:
    """Return the bucket's name, known at plan time: the given one, or one of this stack and account alone.

    Two stacks of one account must not share it: each would take the other's ledger for its own.
    """
    given = args.get("bucket")
    if given:
        return str(given)
    suffix = f"-{aws_access.account(opts)}"
    # A component may be named after its domain; a bucket's name takes no dot behind TLS, and no other character.
    plain = re.sub(r"[^a-z0-9]+", "-", f"{name}-{pulumi.get_stack()}".lower()).strip("-") or "policy-host"
    return f"{plain[: _LONGEST_BUCKET_NAME - len(suffix)]}{suffix}"


def function_name(bucket: str, version: str) -> str:
    """Return the function's name: like the bucket's it is one in the account; CloudFront takes no dots in it."""
    return f"{bucket.replace('.', '-')[:_LONGEST_FUNCTION_NAME]}-{version}"


def bucket_policy(bucket_arn: str, distribution_arn: str) -> str:
    """Return the bucket policy: this distribution may read objects, and nobody may speak without TLS."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "ServePolicies",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudfront.amazonaws.com"},
                    "Action": "s3:GetObject",
                    "Resource": f"{bucket_arn}/*",
                    "Condition": {"StringEquals": {"AWS:SourceArn": distribution_arn}},
                },
                {
                    "Sid": "OnlyTls",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [bucket_arn, f"{bucket_arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        }
    )


def _too_many(count: int, certificate_names: int | None) -> list[Finding]:
    if count == 0:
        return [Finding("no-domains", "domains", "a policy host serves at least one domain; got none, list one")]
    most = int(min(10 if certificate_names is None else certificate_names, _MOST_ALIASES))
    if count <= most:
        return []
    message = (
        f"{count} domains on one host, but its certificate and distribution take {most}; split them over several "
        f"hosts, or raise the ACM quota `names per certificate` (at most {MOST_CERTIFICATE_NAMES}) and set "
        "`certificate_names`"
    )
    return [Finding("too-many-domains", "domains", message)]


def _policy_host(domain: str) -> str:
    return f"mta-sts.{domain}"  # RFC 8461 §3.3


def _bucket_settings(
    name: str, bucket: aws.s3.Bucket, child: pulumi.ResourceOptions
) -> Sequence[pulumi.CustomResource]:
    return [
        aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.id,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        ),
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        ),
        aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        ),
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.id,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        ),
    ]


def _certificate(
    name: str,
    hosted: Mapping[str, pulumi.Input[str]],
    tags: Mapping[str, str] | None,
    child: pulumi.ResourceOptions,
    opts: pulumi.ResourceOptions | None,
) -> aws.acm.CertificateValidation:
    names = sorted((_policy_host(domain) for domain in hosted), key=lambda host: (len(host), host))
    certificate = aws.acm.Certificate(
        f"{name}-certificate",
        domain_name=names[0],  # the shortest: ACM limits the first name's length
        subject_alternative_names=sorted(names[1:]) or None,
        validation_method="DNS",
        region=CERTIFICATE_REGION,
        tags=tags,
        opts=child,
    )
    # Another certificate of this account may have left the same record.
    look_first = pulumi.ResourceHookBinding(
        before_create=[dns.no_second_record(f"{name}-validation-no-second-record", opts)]
    )
    records = [
        dns.make(
            # Named after the domain: a replaced certificate asks for the same record.
            f"{name}-validation-{domain}",
            zone_id,
            _validation_record(certificate, _policy_host(domain)),
            pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(hooks=look_first)),
        )
        for domain, zone_id in sorted(hosted.items())
    ]
    return aws.acm.CertificateValidation(
        f"{name}-certificate-validation",
        certificate_arn=certificate.arn,
        validation_record_fqdns=[record.name for record in records],
        region=CERTIFICATE_REGION,
        opts=child,
    )


def _validation_record(certificate: aws.acm.Certificate, host: str) -> dns.Record:
    # By name, never by index: ACM's order is not ours. Where `--target` leaves the certificate as it was, it does not
    # ask for a name that is new; nor is this record touched then.
    option = certificate.domain_validation_options.apply(
        lambda options: next((option for option in options if option.domain_name == host), None)
    )
    # Cloudflare strips trailing dots; sent with one, every refresh would show drift.
    return dns.Record(
        name=option.apply(lambda known: known and known.resource_record_name.rstrip(".")),
        type="CNAME",
        content=option.apply(lambda known: known and known.resource_record_value.rstrip(".")),
        ttl=300,
    )


def _distribution(
    name: str,
    bucket_name: str,
    bucket: aws.s3.Bucket,
    validation: aws.acm.CertificateValidation,
    domains: Sequence[str],
    *,
    tags: Mapping[str, str] | None,
    child: pulumi.ResourceOptions,
) -> aws.cloudfront.Distribution:
    code = files("pulumi_mta_sts").joinpath("policy_function.js").read_text(encoding="utf-8")
    version = hashlib.sha256(f"{bucket_name}\n{code}".encode()).hexdigest()[:8]
    function = aws.cloudfront.Function(
        f"{name}-function-{version}",
        # Code is never changed in place, where edges would differ for a while: new code has a new name.
        name=function_name(bucket_name, version),
        runtime="cloudfront-js-2.0",
        code=code,
        comment="Maps mta-sts.DOMAIN to that domain's policy object",
        publish=True,
        opts=child,
    )
    access = aws.cloudfront.OriginAccessControl(
        f"{name}-origin-access",
        name=bucket_name,
        origin_access_control_origin_type="s3",
        signing_behavior="always",
        signing_protocol="sigv4",
        opts=child,
    )
    return aws.cloudfront.Distribution(
        f"{name}-distribution",
        comment="MTA-STS policies (RFC 8461)",
        enabled=True,
        is_ipv6_enabled=True,
        http_version="http2and3",
        aliases=[_policy_host(domain) for domain in domains],
        origins=[
            {
                "origin_id": "policies",
                "domain_name": bucket.bucket_regional_domain_name,
                "origin_access_control_id": access.id,
            }
        ],
        default_cache_behavior={
            "target_origin_id": "policies",
            "allowed_methods": ["GET", "HEAD"],
            "cached_methods": ["GET", "HEAD"],
            "cache_policy_id": CACHING_DISABLED,
            # RFC 8461 §3.3: a redirect breaks the policy, so plain http gets a refusal, not a redirect.
            "viewer_protocol_policy": "https-only",
            "function_associations": [{"event_type": "viewer-request", "function_arn": function.arn}],
        },
        viewer_certificate={
            "acm_certificate_arn": validation.certificate_arn,
            "minimum_protocol_version": "TLSv1.2_2021",
            "ssl_support_method": "sni-only",
        },
        restrictions={"geo_restriction": {"restriction_type": "none"}},
        tags=tags,
        opts=child,
    )
