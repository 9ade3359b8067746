"""Who sent a report mail: what is believed, and what anybody may have written."""

from __future__ import annotations

import base64
from importlib.util import find_spec

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mta_sts.reports.containers import Context, Found, Unreadable, read
from mta_sts.reports.origin import OriginCheck, noted_signers, verified_signers
from tests.mta_sts.report_samples import data, mail, report

HOST = "mx.example.com"
CHECK = OriginCheck(HOST)
PASS = f"{HOST}; dkim=pass header.d=sender.example"


def signers(content: bytes, check: OriginCheck = CHECK) -> list[str]:
    """Return the signer of each report found."""
    items: list[Found | Unreadable] = []
    read(content, "file", Context(origin=check), items.append)
    return [item.signer for item in items if isinstance(item, Found)]


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


def test_only_the_topmost_field_counts() -> None:
    """The trusted host puts its field on top; a second one below came with the mail."""
    forged = results(f"{HOST}; dkim=fail header.d=sender.example", extra=f"Authentication-Results: {PASS}\r\n")
    assert [""] == signers(forged)


def test_a_signature_over_a_part_of_the_body_does_not_count() -> None:
    """RFC 8460 §3: no `l=` tag, or anybody could append a report."""
    assert [""] == signers(results(PASS, extra="DKIM-Signature: v=1; d=sender.example; l=10; b=x\r\n"))
    assert ["sender.example"] == signers(results(PASS, extra="DKIM-Signature: v=1; d=sender.example; b=l=\r\n"))


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
