"""Reading a Cloudflare zone: the token goes to nobody else and into no message, and any answer is a reason."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mta_sts.adoption import zone
from mta_sts.adoption.zone import BASE_VARIABLE, TOKEN_VARIABLE, ZoneUnreadError, read_records, read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "sekret-token-value"  # noqa: S105  nobody's
ZONE = {"result": [{"id": "zone1", "name": "example.com"}]}
RECORD = {"id": "r1", "name": "example.com", "type": "TXT", "content": '"a" "b"', "ttl": 1, "modified_on": None}


def answer(document: object, status: str = "200 OK", *headers: str) -> bytes:
    """Return an answer by HTTP."""
    body = json.dumps(document).encode()
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
    return f"{head}\r\n".encode() + body


@contextmanager
def api(*answers: bytes) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Serve answers on loopback; gives the environment that leads there, and the requests that came."""
    came: list[str] = []
    left = list(answers)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = []
            while (line := self.rfile.readline().decode().strip()) != "":
                lines.append(line)
            came.append("\n".join(lines))
            self.wfile.write(left.pop(0))

    with serving(Handler) as base:
        yield {TOKEN_VARIABLE: f" {TOKEN}\n", BASE_VARIABLE: base}, came


@contextmanager
def serving(handler: type[socketserver.StreamRequestHandler]) -> Iterator[str]:
    """Serve on loopback; gives the URL that leads there."""
    with socketserver.TCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/client/v4/"
        finally:
            server.shutdown()
            thread.join()


def refusal(environment: dict[str, str]) -> str:
    """Return why a zone is not read; the token is never in it, nor in what led to it."""
    with pytest.raises(ZoneUnreadError) as refused:
        read_zone("example.com", environment)
    cause: BaseException | None = refused.value
    while cause is not None:
        assert TOKEN not in str(cause)
        cause = cause.__cause__
    return str(refused.value)


def test_a_token_is_taken_without_what_was_copied_along() -> None:
    """A newline at its end is the most common of all."""
    nothing = answer({"result": []})
    with api(answer(ZONE), answer({"result": [RECORD]}), nothing, nothing, nothing) as (environment, came):
        found = read_zone("example.com", environment)
    assert ("zone1", ["ab"]) == (found.id, [one.value for one in found.at("example.com", "TXT")])
    assert came[0].startswith("GET /client/v4/zones?name=example.com&per_page=100 HTTP/1.1")
    assert f"\nAuthorization: Bearer {TOKEN}\n" in came[0] + "\n"


@pytest.mark.parametrize("token", [f"{TOKEN}\nX-More: 1", f"{TOKEN} two", f"{TOKEN}é", f"{TOKEN}\x00"])
def test_a_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    """Before anything is sent: the client library would quote it."""
    assert TOKEN_VARIABLE in refusal({TOKEN_VARIABLE: token, BASE_VARIABLE: "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    "base",
    [
        "http://127.0.0.1.evil.example/client/v4",
        "http://127.0.0.1@evil.example/",
        "http://[::1",
        "http://api.cloudflare.com/client/v4",
        "https://a b",
        "https://a\nb",
        "https://:password@api.cloudflare.com",
        "https://",
        "https://api.cloudflare.com:port",
        "https://api.cloudflare.com/?x=",
        "file:///etc/passwd",
        "api.cloudflare.com",
    ],
)
def test_the_token_goes_nowhere_but_by_tls_or_to_this_machine(base: str) -> None:
    """The host itself is compared, not how the URL begins; a password in it is not shown."""
    said = refusal({TOKEN_VARIABLE: TOKEN, BASE_VARIABLE: base})
    assert said.startswith(f"{BASE_VARIABLE} is ")
    assert "password@" not in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"garbage\r\n\r\n", "does not speak HTTP"),
        (b"", "can't be asked"),
        (answer({}), "not what Cloudflare's API gives"),
        (answer({"result": None}), "not what Cloudflare's API gives"),
        (answer({"result": [1]}), "not what Cloudflare's API gives"),
        (answer({"result": [{"name": 1}]}), "not what Cloudflare's API gives"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", "not what Cloudflare's API gives"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "not what Cloudflare's API gives"),
        (answer({}, "403 Forbidden"), "answers 403 to /zones; give the token DNS:Read"),
        (answer({}, "401 Unauthorized"), "whole and valid"),
        (answer({}, "500 Oh"), "answers 500"),
        (answer({"result": []}), "sees no zone that holds example.com"),
        (answer({"result": ZONE["result"] * 2}), "sees 2 zones"),
    ],
)
def test_each_answer_that_is_no_zone_is_a_reason(given: bytes, words: str) -> None:
    """Never a traceback."""
    with api(given) as (environment, _):
        assert words in refusal(environment)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n{"])
def test_an_answer_that_drips_is_given_up(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for all of it: each byte that comes would begin a socket's own anew."""
    monkeypatch.setattr(zone, "_LIMIT", 0.2)
    left = threading.Event()

    class Dripping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(begun)
            while not left.wait(0.02):
                self.wfile.write(b" ")

    with serving(Dripping) as base:
        try:
            assert "no whole answer within 0.2 s" in refusal({TOKEN_VARIABLE: TOKEN, BASE_VARIABLE: base})
        finally:
            left.set()


def test_a_redirect_is_not_followed() -> None:
    """The token would go along."""
    with (
        api(b"") as (elsewhere, came),
        api(answer({}, "302 Found", f"Location: {elsewhere[BASE_VARIABLE]}")) as (env, _),
    ):
        assert "answers 302" in refusal(env)
    assert [] == came


def test_a_record_that_is_none_is_a_reason_too() -> None:
    """Whoever reads one name of a zone gets it as well."""
    with api(answer({"result": [RECORD | {"ttl": "x"}]})) as (environment, _), pytest.raises(ZoneUnreadError):
        read_records("zone1", "example.com", environment)
