"""Who sent a report mail: what is believed, and what anybody may have written."""

from __future__ import annotations

import base64
import hashlib
from importlib.util import find_spec

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mta_sts.reports.containers import Context, Input, Limits, Unreadable, read
from mta_sts.reports.origin import OriginCheck, noted_signers, verified_signers
from mta_sts.reports.parse import Report
from mta_sts.reports.signers import registrable_domain
from tests.mta_sts.report_samples import data, mail, report

HOST = "mx.example.com"
CHECK = OriginCheck(HOST)
PASS = f"{HOST}; dkim=pass header.d=sender.example"


def signers(content: bytes, check: OriginCheck = CHECK) -> list[str]:
    """Return the signer of each report found."""
    items: list[Report | Unreadable] = []
    read(content, "file", Context(origin=check), Input(Limits(), items.append))
    return [item.signer for item in items if isinstance(item, Report)]


def results(field: str, **options: str) -> bytes:
    """Return a report mail with that field on top."""
    return mail(data(report()), results=field, **options)


BELIEVED = {
    "d": PASS,
    "i": f"{HOST}; dkim=pass header.i=@sender.example header.s=x",
    "parent of the From domain": f"{HOST}; spf=fail; dkim=pass (good) header.d=sender.example",
    "authserv-id in capitals with a version": "MX.Example.COM 1; dkim=pass header.d=sender.example",
    "one of two": f"{HOST}; dkim=fail header.d=x.example; dkim=pass header.d=sender.example",
    "folded": f"{HOST};\r\n dkim=pass\r\n header.d=sender.example",
}


@pytest.mark.parametrize("field", BELIEVED.values(), ids=BELIEVED.keys())
def test_a_result_of_the_trusted_host_counts(field: str) -> None:
    """`dkim=pass` for the From domain or its parent, as the named host noted it (RFC 8601, RFC 8460 §3)."""
    assert ["sender.example"] == signers(results(field, sender="mail.sender.example"))


NOT_BELIEVED = {
    "nothing": "",
    "another host": "mx.evil.example; dkim=pass header.d=sender.example",
    "a failure": f"{HOST}; dkim=fail header.d=sender.example",
    "another domain": f"{HOST}; dkim=pass header.d=evil.example",
    "a longer domain": f"{HOST}; dkim=pass header.d=evilsender.example",
    "a top-level domain": f"{HOST}; dkim=pass header.d=example",
    "in a comment": f"{HOST}; spf=pass (; dkim=pass header.d=sender.example)",
    "in quotes": f'{HOST}; spf=pass smtp.mailfrom="; dkim=pass header.d=sender.example ;"',
    "quotes opened in a comment": f'{HOST}; a=b (") c="; dkim=pass header.d=sender.example; x="',
    "quotes that stay open": f'{HOST}; dkim=pass header.d=sender.example; x="',
    "another method": f"{HOST}; xdkim=pass header.d=sender.example",
}


@pytest.mark.parametrize("field", NOT_BELIEVED.values(), ids=NOT_BELIEVED.keys())
def test_what_a_sender_may_have_written_does_not_count(field: str) -> None:
    """Other hosts, other domains, failures, and text in comments or quotes prove nothing."""
    assert [""] == signers(results(field))


def test_a_domain_that_ends_alike_is_no_parent() -> None:
    """evilsender.example is not below sender.example."""
    assert [""] == signers(results(PASS, sender="evilsender.example"))


NOTED = f"Authentication-Results: {PASS}\r\n"
OTHER = f"Authentication-Results: {HOST};\r\n dmarc=pass header.from=sender.example\r\n"
RECEIVED = f"Received: from out.sender.example (out.sender.example [192.0.2.1])\r\n\tby {HOST} with ESMTPS id 1\r\n"
HANDED_OVER = f"Received: from {HOST}\r\n\tby store.example.com with LMTP id 2\r\n"
FOREIGN = "Received: from laptop by out.sender.example with ESMTPSA id 3\r\n"
PLACES = {
    "OpenDMARC's above OpenDKIM's": (OTHER + NOTED + RECEIVED, True),
    "handed over by LMTP": (HANDED_OVER + OTHER + NOTED + RECEIVED, True),
    "with another field between": (OTHER + "X-Spam: no\r\n" + NOTED + RECEIVED, True),
    "one field below the host's Received": (RECEIVED + NOTED + FOREIGN, True),
    "the sender's own, below the host's Received": (OTHER + RECEIVED + NOTED + FOREIGN, False),
    "the sender's own, below a host's that puts results there": (RECEIVED + OTHER + NOTED + FOREIGN, False),
    "the sender's own, in a mail without Received": (OTHER + NOTED, False),
    "the host's name is like LMTP": (RECEIVED.replace("1])", "1] with LMTP)") + OTHER + NOTED + FOREIGN, False),
    "another host's on top": (NOTED.replace(HOST, "mx.evil.example") + NOTED + RECEIVED, True),
}


@pytest.mark.parametrize(("headers", "believed"), PLACES.values(), ids=PLACES.keys())
def test_a_field_counts_where_only_the_trusted_host_can_have_put_it(headers: str, believed: bool) -> None:
    """Above the first Received field of a host, all of its results; else the topmost field alone."""
    assert ["sender.example" if believed else ""] == signers(results("", extra=headers))


def test_a_signature_over_a_part_of_the_body_does_not_count() -> None:
    """RFC 8460 §3: no `l=` tag, or anybody could append a report."""
    assert [""] == signers(results(PASS, extra="DKIM-Signature: v=1; d=sender.example; l=10; b=x\r\n"))
    assert ["sender.example"] == signers(results(PASS, extra="DKIM-Signature: v=1; d=sender.example; b=l=\r\n"))
    below = f"{HOST}; dkim=pass header.i=@mail.sender.example"
    for tags in ("d=sender.example; i=@mail.sender.example; l=10", "d=x.example; d=sender.example;\r\n l=10"):
        partly = results(below, extra=f"DKIM-Signature: v=1; {tags}; b=x\r\n", sender="mail.sender.example")
        assert [""] == signers(partly)


def test_two_from_fields_prove_nothing() -> None:
    """Which of them was signed is not known."""
    assert [""] == signers(results(PASS).replace(b"To: ", b"From: a@evil.example\r\nTo: "))


def test_a_mail_inside_a_mail_is_not_authenticated() -> None:
    """Who sent the outer mail may have written the inner one, its results included."""
    outer = (
        (
            f"Authentication-Results: {HOST}; dkim=pass header.d=evil.example\r\nFrom: a@evil.example\r\n"
            'Content-Type: multipart/mixed; boundary="o"\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n'
        ).encode()
        + results(PASS)
        + b"\r\n--o--\r\n"
    )
    assert [""] == signers(outer)
    attached = outer.replace(b"message/rfc822", b"application/octet-stream; name=r.eml")
    assert [""] == signers(attached)


def test_a_bare_file_has_no_proof() -> None:
    """JSON without a mail around it could be from anybody."""
    assert [""] == signers(data(report()))


def test_without_a_setting_nothing_is_checked_and_this_is_said() -> None:
    """The method is one sentence for the reader."""
    assert "not checked" in OriginCheck().method
    assert HOST in CHECK.method
    assert "verified" in OriginCheck(verify=True).method


def test_noted_signers_are_those_of_one_field() -> None:
    """The field is read as RFC 8601 §2.2 defines it."""
    assert ["a.example", "b.example"] == noted_signers(
        f"{HOST}; dkim=pass header.d=a.example; dkim=pass header.i=u@b.example; dkim=fail header.d=c.example", HOST
    )


@pytest.mark.parametrize(
    ("name", "registered"),
    [
        ("a.b.evil.example", "evil.example"),
        ("x.y.co.uk", "y.co.uk"),
        ("a.github.io", "github.io"),
        ("co.uk", ""),
        ("com", ""),
        ("", ""),
    ],
)
def test_whoever_registered_a_domain_stands_behind_what_is_below(name: str, registered: str) -> None:
    """By the public suffix list, without the names that companies rent out."""
    assert registered == registrable_domain(name)


@pytest.mark.parametrize("signer", ["gmail.com", "outlook.com", "yahoo.co.jp", "gmx.net", "co.uk", "com"])
def test_a_signature_that_anybody_gets_names_nobody(signer: str) -> None:
    """At a freemail provider everybody's mail is signed, and nobody is behind a public suffix."""
    assert [""] == signers(results(f"{HOST}; dkim=pass header.d={signer}", sender=signer))


@pytest.mark.skipif(find_spec("dkim") is None, reason="dkimpy is not installed")
def test_the_domain_of_a_signature_is_the_one_whose_key_was_used() -> None:
    """Tags are case-sensitive (RFC 6376 §3.2): `D=` is none of ours, and a tag given twice is refused."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  fast, and only here
    public = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    content = mail(data(report()), sender="google.com")

    def signed(tags: bytes) -> bytes:
        body = content.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") + b"\r\n"
        head = b"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; s=s; h=from; " + tags
        head += b"; bh=" + base64.b64encode(hashlib.sha256(body).digest()) + b"; b="
        sender = next(line for line in content.splitlines() if line.startswith(b"From:"))
        proof = key.sign(sender + b"\r\n" + head, padding.PKCS1v15(), hashes.SHA256())
        return head + base64.b64encode(proof) + b"\r\n" + content

    def dns_text(name: bytes, **_: object) -> bytes | None:
        return b"v=DKIM1; k=rsa; p=" + public if name == b"s._domainkey.evil.example." else None

    assert ["evil.example"] == verified_signers(signed(b"d=evil.example"), dns_text)
    assert ["evil.example"] == verified_signers(signed(b"d=evil.example; D=google.com"), dns_text)
    assert [] == verified_signers(signed(b"d=evil.example; d=google.com"), dns_text)


@pytest.mark.skipif(find_spec("dkim") is None, reason="dkimpy is not installed")
@pytest.mark.parametrize("service", ["", "; s=tlsrpt", "; s=*"])
def test_a_signature_is_verified_with_the_key_from_dns(service: str) -> None:
    """A valid signature names its domain, keys for tlsrpt included; a changed body names none."""
    import dkim  # noqa: PLC0415  optional

    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  fast, and only here
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    content = mail(data(report()))
    signature = dkim.sign(content, b"sel", b"sender.example", pem, include_headers=[b"from", b"subject"])

    def dns_text(_name: bytes, **_: object) -> bytes:
        return b"v=DKIM1; k=rsa" + service.encode() + b"; p=" + public

    assert ["sender.example"] == verified_signers(signature + content, dns_text)
    assert [] == verified_signers(signature + content.replace(b"This is", b"That is"), dns_text)
    assert [] == verified_signers(content, dns_text)
