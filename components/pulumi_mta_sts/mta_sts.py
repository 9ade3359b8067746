"""MtaSts: everything that one mail domain publishes for MTA-STS and TLS reporting."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from mta_sts import DomainConfig, Finding, check_domain
from mta_sts.ledger import policy_key
from mta_sts.names import to_ascii
from pulumi_mta_sts.domain_records import DomainRecords
from pulumi_mta_sts.judgement import JudgedHost, judge
from pulumi_mta_sts.live import all_behind
from pulumi_mta_sts.policy_host import PolicyHost, PolicyHostArgs, judge_host
from pulumi_mta_sts.refusal import collect, raise_together
from pulumi_mta_sts.stack_state import names_in_state


class SharedHost(TypedDict):
    """A policy host that serves other domains too, as plain values."""

    bucket: str
    """Name of its bucket, plain: it must be known at plan time."""
    target: pulumi.Input[str]
    """Name that `mta-sts.DOMAIN` points at (the host's output `target`)."""


class Override(TypedDict):
    """Who answers for one change that can't be proved safe."""

    change: str
    """The id that this change publishes; the refusal names it."""
    reason: str
    """Why it is right without proof."""


class MtaStsArgs(TypedDict):
    """What a domain publishes. What decides the policy is plain data, known at plan time."""

    domain: str
    """The mail domain, such as `example.com`; U-labels are taken and published as A-labels."""
    mx: NotRequired[list[Any] | None]
    """MX patterns (`*.mail.example.net`), or objects `{host, preference}` where the MX records are managed here."""
    mode: NotRequired[str | None]
    """`testing` (default), `enforce` or `none` (RFC 8461 §3.2)."""
    max_age: NotRequired[int | None]
    """Seconds that a sender may keep the policy: 86400 by default, 1209600 in enforce."""
    reports: NotRequired[list[str] | None]
    """Where TLS reports go: `mailto:` or `https:` URIs (RFC 8460 §3)."""
    zone: NotRequired[str | None]
    """The Cloudflare zone by name; by default the longest one that holds the domain."""
    zone_id: NotRequired[pulumi.Input[str] | None]
    """The Cloudflare zone by id. An output is taken for the first publication only: its records can't be read."""
    host: NotRequired[SharedHost | None]
    """A shared policy host; by default the domain gets its own."""
    manage_mx: NotRequired[bool | None]
    """Whether the MX records are made here too, from `mx`."""
    epoch: NotRequired[str | None]
    """Change it to make every sender fetch again: it goes into the id."""
    acknowledge: NotRequired[str | None]
    """The reason why `enforce` is right without evidence from reports; shown to reviewers."""
    evidence: NotRequired[dict[str, Any] | None]
    """What `mta-sts evidence` wrote, as plain data; the step from testing to enforce needs it, or `acknowledge`."""
    thresholds: NotRequired[dict[str, int] | None]
    """What evidence must reach: `days` (7), `sessions` (10), `organizations` (2), `fresh_days` (14)."""
    adopt: NotRequired[bool | None]
    """Import records that exist already; they stay as they are in that update, and the next one publishes."""
    history: NotRequired[list[Any] | None]
    """Policies that senders may hold from before the domain came here, newest first, as `mta-sts adopt` prints them."""
    override: NotRequired[Override | None]
    """Lets the one change go on that it names, though it can't be proved safe; shown to reviewers."""
    txt_ttl: NotRequired[int | None]
    """Seconds resolvers may keep the TXT records: 300 by default."""
    mx_ttl: NotRequired[int | None]
    """Seconds resolvers may keep the MX records: 300 by default."""
    cname_ttl: NotRequired[int | None]
    """Seconds resolvers may keep the policy host's CNAME: 300 by default."""
    wait_limit: NotRequired[int | None]
    """Most seconds that one step of an update may wait: 900 by default."""
    tags: NotRequired[dict[str, str] | None]
    """Tags for everything at AWS that can carry them."""


class _OwnHost(PolicyHost):
    """The policy host of one domain."""

    _alone = True


class MtaSts(pulumi.ComponentResource):
    """The policy object, the `mta-sts` CNAME, the `_mta-sts` and `_smtp._tls` records, on request the MX records."""

    policy_id: pulumi.Output[str]
    """The id that `_mta-sts` shows for this policy."""
    policy_url: pulumi.Output[str]
    """Where senders fetch the policy."""
    policy_body: pulumi.Output[str]
    """The policy as served."""
    sts_record_name: pulumi.Output[str]
    """Name of the MTA-STS discovery record."""
    tlsrpt_record_name: pulumi.Output[str | None]
    """Name of the TLS reporting record, where reports are asked for."""
    removable_from: pulumi.Output[str]
    """From when the domain may be taken off: `now`, a time (RFC 3339), or what has to be done first."""

    def __init__(self, name: str, args: MtaStsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Publish MTA-STS for one domain.

        Raises pulumi.InputPropertiesError with every problem before anything is registered.
        """
        raise_together(check_domain(args))
        shared = args.get("host")
        host_name = f"{name}-host"
        host_args: PolicyHostArgs = {
            "domains": [{"domain": args.get("domain", ""), "zone": args.get("zone"), "zone_id": args.get("zone_id")}],
            "tags": args.get("tags"),
        }
        host = _judged(shared) if shared else judge_host(host_name, host_args, opts, path="", alone=True)
        (judged,) = judge([args], host, opts, path="")
        config = judged.config
        found: list[Finding] = []
        none: frozenset[str] = frozenset()
        here_already = collect(found, names_in_state, none) if config.adopt and judged.existing else none
        raise_together(found)
        super().__init__("mta-sts:index:MtaSts", name, _shown(config), opts)

        if shared:
            target = shared["target"]
        else:
            target = _OwnHost(host_name, host_args, pulumi.ResourceOptions(parent=self)).target

        # The target stands for all of the host's resources: who waits for it, waits for them.
        host_ready = all_behind(target)
        records = DomainRecords(self, name, judged, target=target, here_already=here_already, opts=opts)

        # Records taken over come first: the policy object then remembers that they were.
        taken_over = [records.register(role, ()) for role in judged.adopting]
        policy = aws.s3.BucketObjectv2(
            f"{name}-policy",
            bucket=host.bucket,
            key=policy_key(config.domain),
            content=judged.body.decode(),
            # Many senders refuse any other media type (RFC 8461 §3.2).
            content_type="text/plain; charset=utf-8",
            metadata=judged.metadata,
            tags=args.get("tags"),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[host_ready, *taken_over],
                # Deleting the object deletes all its versions, and with them what senders may still hold.
                retain_on_delete=True,
                ignore_changes=["metadata"] if judged.notes_stay else None,
            ),
        )
        # RFC 8461 §8.1: the policy first, by its host, then the id that makes senders fetch it, then new MX hosts.
        published: list[pulumi.Input[pulumi.Resource]] = [host_ready, policy]
        for role in records.due():
            published.append(records.register(role, tuple(published), policy))

        self.policy_id = pulumi.Output.from_input(judged.policy_id)
        self.policy_url = pulumi.Output.from_input(f"https://mta-sts.{config.domain}/.well-known/mta-sts.txt")
        self.policy_body = pulumi.Output.from_input(judged.body.decode())
        self.sts_record_name = pulumi.Output.from_input(f"_mta-sts.{config.domain}")
        self.tlsrpt_record_name = pulumi.Output.from_input(f"_smtp._tls.{config.domain}" if config.reports else None)
        self.removable_from = pulumi.Output.from_input(judged.removable_from)
        self.register_outputs(
            {
                "policy_id": self.policy_id,
                "policy_url": self.policy_url,
                "policy_body": self.policy_body,
                "sts_record_name": self.sts_record_name,
                "tlsrpt_record_name": self.tlsrpt_record_name,
                "removable_from": self.removable_from,
            }
        )


def _judged(shared: SharedHost) -> JudgedHost:
    """Return what is known of a shared host; a target that flows from its resources was known to whoever judged all."""
    target = shared["target"]
    return JudgedHost(shared["bucket"], target=to_ascii(target) if isinstance(target, str) else None)


def _shown(config: DomainConfig) -> dict[str, Any]:
    """Return what the plan shows of the component itself: what its resources don't, and a reviewer has to know."""
    return {
        "domain": config.domain,
        "acknowledge": config.acknowledge,
        "evidence": (config.evidence or {}).get("window"),
    }
