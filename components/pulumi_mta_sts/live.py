"""One run's look at the live world, through the providers that the component itself uses.

Everything here is read synchronously and before any resource is registered: a refusal that comes out
of `apply` comes after other resources were made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime.settings import get_monitor

# Pulumi's own synchronous invokes stand on this; taken directly, many invokes can wait at once.
from pulumi.runtime.sync_await import _sync_await

T = TypeVar("T")

_runs: WeakKeyDictionary[Any, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()


def once_a_run(key: tuple[Any, ...], read: Callable[[], T]) -> T:
    """Return what `read` found earlier in this run under `key`, else read it now.

    A run is known by its engine connection: in the Automation API several share one process.
    """
    seen = _runs.setdefault(get_monitor(), {})
    if key not in seen:
        seen[key] = read()
    found: T = seen[key]
    return found


def provider_for(package: str, opts: pulumi.ResourceOptions | None) -> pulumi.ProviderResource | None:
    """Return the provider that children of a component with these options will use, None for the default one."""
    opts = opts or pulumi.ResourceOptions()
    named = opts.providers or []
    candidates = list(named.values() if isinstance(named, dict) else named)  # a Mapping or a Sequence
    if opts.provider is not None:
        candidates.insert(0, opts.provider)
    for candidate in candidates:
        if isinstance(candidate, pulumi.ProviderResource) and candidate.package == package:
            return candidate
    return opts.parent.get_provider(f"{package}:") if opts.parent is not None else None


async def invoke(token: str, args: dict[str, Any], provider: pulumi.ProviderResource | None) -> Any:
    """Call a provider function now; raises what the provider answered."""
    return await pulumi.runtime.invoke_async(token, args, pulumi.InvokeOptions(provider=provider))


def wait_for(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for many invokes at once, from synchronous code; raises the first failure."""

    async def gather() -> list[T]:
        return list(await asyncio.gather(*awaitables))

    return _sync_await(gather())


def all_behind(value: pulumi.Input[Any]) -> pulumi.Output[pulumi.Resource]:
    """Return something to depend on that stands for every resource behind a value."""
    return cast("pulumi.Output[pulumi.Resource]", pulumi.Output.from_input(value).apply(lambda _: None))
