"""What takes a safeguard out of the component's own code, for the simulated engine and for the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi

from mta_sts.ledger import ID_METADATA, next_id

if TYPE_CHECKING:
    from collections.abc import Callable


def no_barrier(name: str, *_: object) -> pulumi.ResourceHook:
    """Return a hook that lets everything through."""

    async def pass_by(_: pulumi.ResourceHookArgs) -> None:
        pass

    return pulumi.ResourceHook(name, pass_by)


def nothing(*_: object, **__: object) -> list[Any]:
    """Return that there is nothing."""
    return []


def same_id_for_same_bytes() -> Callable[..., str]:
    """Return a choice of id that brings back the one which the same policy had before."""
    had: dict[str, str] = {}

    def choose(body: bytes, newest: Any, epoch: str | None, otherwise: str) -> str:
        if newest is not None and newest.body:
            had[newest.body] = newest.metadata[ID_METADATA]
        return had.get(body.decode()) or next_id(body, newest, epoch, otherwise)

    return choose


def never_a_new_id(body: bytes, newest: Any, epoch: str | None, otherwise: str) -> str:
    """Choose the id that is published already."""
    return newest.metadata[ID_METADATA] if newest is not None else next_id(body, newest, epoch, otherwise)
