"""What the three HTTP servers of the world share."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def loopback_only(
    application: Callable[[Any, Any, Any, Any], Awaitable[None]],
) -> Callable[[Any, Any, Any, Any], Awaitable[None]]:
    """Let a method of an ASGI application see only HTTP for a loopback Host: a web page must not get in by a name."""

    @wraps(application)
    async def guarded(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if host.rpartition(":")[0] in _LOOPBACK:
            await application(self, scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return guarded


async def _live(receive: Any, send: Any) -> None:
    """Have nothing to do at the server's start and end."""
    ended = False
    while not ended:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        ended = kind == "lifespan.shutdown"


async def read_body(receive: Any) -> bytes:
    """Return the whole body of a request."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def break_off(send: Any) -> None:
    """Let the connection break: an answer is promised, and the server closes when the application returns."""
    headers = [(b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
