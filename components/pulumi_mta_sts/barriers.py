"""Barriers: hooks that stop a step of the update until senders can't be hurt by it.

They run before a create or an update, never after: an after-hook that fails is not run again, and the next update
lets what depends on the step through (providers.md §5.6).
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi

from mta_sts import MtaStsError, parse_policy
from mta_sts.fetch import FetchCause, FetchError, fetch_policy_async, tls_context
from mta_sts.ledger import ID_METADATA, known_from
from mta_sts.names import to_ascii
from pulumi_mta_sts import dns
from pulumi_mta_sts.former_host import meaning
from pulumi_mta_sts.judgement import Judged
from pulumi_mta_sts.live import provider_for
from pulumi_mta_sts.outside import outside
from pulumi_mta_sts.zone_contents import live_id_at

_PAUSE = 5.0


class NotYetError(RuntimeError):
    """A step that would hurt senders now; the message says what they use meanwhile, and when to try again."""


def id_is_noted(
    hook_name: str, judged: Judged, metadata: pulumi.Input[Mapping[str, str] | None]
) -> pulumi.ResourceHook:
    """Return the hook that lets the id be published only when the policy object notes it in its `metadata`.

    Where only the id changes, the edge serves the same bytes before and after. An id that no version of the object
    notes is one of which no later plan can tell what senders hold.
    """

    async def look(_: pulumi.ResourceHookArgs) -> None:
        noted = (await pulumi.Output.from_input(metadata).future() or {}).get(ID_METADATA, "no id")
        if noted != judged.policy_id:
            raise NotYetError(
                f"the id of {judged.config.domain} is not changed: its policy object notes {noted} and not yet "
                f"{judged.policy_id}. Let an update write that first: run it without `--target`, or with that object "
                "among the targets"
            )

    return pulumi.ResourceHook(hook_name, look)


def edge_serves(
    hook_name: str, judged: Judged, target: pulumi.Input[str], opts: pulumi.ResourceOptions | None
) -> pulumi.ResourceHook:
    """Return the hook that lets the id be published only when whoever fetches gets the new bytes.

    A sender that sees the new id and is served the old file keeps it under the new id, for ever (RFC 8461 §8.1).
    It asks the addresses of the distribution's own name, with SNI and Host of the policy host; where the policy host's
    name led elsewhere a moment ago, caches must have forgotten that first, unless the same policy is served there.
    """
    config = judged.config
    provider = provider_for(dns.PACKAGE, opts)
    before = judged.existing.get("policy-host")
    held_up = f"the id of {config.domain} is not changed"

    async def forgotten(name: str, zone_id: str) -> float:
        """Return when no cache leads to a former target that serves anything else."""
        if before is None:
            return 0.0
        if before.content == name:  # not moved in this update; in the one that moved it, `host_ttl` has kept the TTL
            # It stands by now, whatever a clock that is behind makes of the date.
            return min(before.modified, outside().now()) + dns.effective_ttl(before.ttl)
        if not await _wrong_edges(config.domain, before.content, judged.body):
            return 0.0
        host = f"mta-sts.{config.domain}"
        records = await dns.at_name(zone_id, host, provider)
        if any(record.content != name for record in records):
            raise NotYetError(
                f"{held_up}: {host} still leads to {before.content}, which serves another policy. Let an update move "
                "it first: run it without `--target`, or with that record among the targets"
            )
        return max((record.modified + dns.effective_ttl(record.ttl) for record in records), default=0.0)

    async def look(args: pulumi.ResourceHookArgs) -> None:
        name = to_ascii(str(await pulumi.Output.from_input(target).future()))  # as live records are compared
        inputs: Any = args.new_inputs or {}
        if judged.published:
            due = await forgotten(name, str(inputs["zoneId"]))
            await _until(due, config.wait_limit, f"{held_up}: caches may still lead to the former policy host")
        deadline = outside().now() + config.wait_limit
        while wrong := await _wrong_edges(config.domain, name, judged.body):
            if outside().now() >= deadline:
                raise NotYetError(
                    f"{held_up}: {'; '.join(wrong)}. Senders go on with the policy that "
                    f"they know. Run it again when https://mta-sts.{config.domain} serves the new policy"
                )
            await outside().wait(_PAUSE)

    return pulumi.ResourceHook(hook_name, look)


async def _until(due: float, wait_limit: int, held_up: str) -> None:
    """Wait until a moment, in seconds since the epoch; raises NotYetError where that is longer than the limit."""
    missing = due - outside().now()
    if missing > wait_limit:
        when = datetime.fromtimestamp(due, UTC).isoformat(timespec="minutes")
        raise NotYetError(
            f"{held_up} before {when} (wait_limit is {wait_limit} s). Senders go on with the policy that they know; "
            "run it again then, or now with a longer wait_limit"
        )
    if missing > 0:
        pulumi.log.info(f"Waiting {missing:.0f} s: {held_up} before that")
        await outside().wait(missing)


async def _wrong_edges(domain: str, name: str, body: bytes) -> list[str]:
    """Return what is wrong at the addresses of the policy host; a family that this machine can't reach counts not."""
    import dns.exception as of_dns  # noqa: PLC0415  heavy

    try:
        addresses = await outside().addresses(name)
    except of_dns.DNSException as error:
        return [f"{name}: {' '.join(str(error).split())}"]
    context = tls_context(outside().ca_file)
    wanted = meaning(parse_policy(body))

    async def ask(address: str, port: int) -> tuple[bool, str]:
        try:
            served = await fetch_policy_async(domain, address, port, context=context)
        except FetchError as error:
            return error.cause is not FetchCause.UNREACHABLE, error.findings[0].message
        except MtaStsError as error:
            return True, str(error)
        # By meaning: what another host wrote in another order is the same to every sender.
        return True, "" if meaning(served.policy) == wanted else f"{address} still serves another policy"

    answers = await asyncio.gather(*(ask(address, port) for address, port in addresses))
    if not answers:
        return [f"{name} has no address"]
    reached = [wrong for reachable, wrong in answers if reachable]
    return [wrong for wrong in reached or [wrong for _, wrong in answers] if wrong]


def policy_is_current(hook_name: str, judged: Judged, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceHook:
    """Return the hook that lets a new MX host appear only when diligent senders know a policy that lists it.

    Counted from when the live record began to show it, with the longer of its old and new TTL, plus a fetch and the
    pause after a failed one. Where no policy was served before, nobody holds one, and nothing waits.
    """
    config = judged.config
    provider = provider_for(dns.PACKAGE, opts)

    async def look(args: pulumi.ResourceHookArgs) -> None:
        if not judged.published:
            return
        inputs: Any = args.new_inputs or {}
        name = f"_mta-sts.{config.domain}"
        live_id = live_id_at(name, await dns.at_name(str(inputs["zoneId"]), name, provider))
        held_up = f"MX host {inputs['content']} is not added: senders may hold a policy without it"
        if live_id is None or live_id.id != judged.policy_id:
            shown = live_id.id if live_id else "no id"
            raise NotYetError(
                f"{held_up}, because {name} shows {shown} and not yet {judged.policy_id}. Let an update publish that "
                "first: run it without `--target`, or with that record among the targets"
            )
        await _until(known_from(judged.versions_after, live_id), config.wait_limit, held_up)

    return pulumi.ResourceHook(hook_name, look)
