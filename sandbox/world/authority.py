"""The local certificate authority: what the public ones are out there."""

from __future__ import annotations

import datetime as dt
import ssl
import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)
_VALIDITY = {"expired": (-30, -1), "not-yet-valid": (30, 60)}
_FAR = 3650
_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Issues certificates; its own is kept on disk so that clients go on trusting it after a restart."""

    def __init__(self, folder: Path, real_now: dt.datetime) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        self._folder = folder
        # Clients check validity by the machine's clock, not by the sandbox's.
        self._now = real_now
        key_file = folder / "ca.key"
        if not key_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._build("Sandbox authority", [], key.public_key(), issuer=None, signer=key)
            self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            key_file.write_bytes(_pem(key))
            key_file.chmod(0o600)
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_file} holds no EC key; remove {folder}")
        self._key = loaded
        self._certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        self._contexts: dict[tuple[tuple[str, ...], str], ssl.SSLContext] = {}

    def context(self, names: tuple[str, ...], fault: str = "") -> ssl.SSLContext:
        """Return a server context with a certificate for these names, or with a faulty one."""
        if (names, fault) not in self._contexts:
            self._contexts[names, fault] = self._context(names, fault)
        return self._contexts[names, fault]

    def _context(self, names: tuple[str, ...], fault: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        shown = ("elsewhere.invalid",) if fault == "wrong-name" else names
        issuer: x509.Certificate | None = self._certificate
        signer = self._key
        if fault == "self-signed":
            issuer, signer = None, key
        elif fault == "missing-intermediate":
            signer = ec.generate_private_key(ec.SECP256R1())
            issuer = self._build(
                "Sandbox intermediate", [], signer.public_key(), issuer=self._certificate, signer=self._key
            )
        certificate = self._build(shown[0][:64], shown, key.public_key(), issuer=issuer, signer=signer, fault=fault)
        file = self._folder / "leaf.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
        file.chmod(0o600)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if fault == "tls-1.0":
            context.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL refuses to speak it otherwise
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        else:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(file)
        file.unlink()
        return context

    def _build(
        self,
        subject: str,
        names: tuple[str, ...] | list[str],
        public_key: ec.EllipticCurvePublicKey,
        *,
        issuer: x509.Certificate | None,
        signer: ec.EllipticCurvePrivateKey,
        fault: str = "",
    ) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        start, end = _VALIDITY.get(fault, (-1, _FAR))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer.subject if issuer else name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now + start * _DAY)
            .not_valid_after(self._now + end * _DAY)
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        # What strict verification (Python 3.13's default) asks for: key identifiers, and key usage of the authority.
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        issuing = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(issuing, critical=False)
        if not names:
            builder = builder.add_extension(_CA_USAGE, critical=True)
        if names:
            sans = x509.SubjectAlternativeName([x509.DNSName(host) for host in names])
            builder = builder.add_extension(sans, critical=False)
        return builder.sign(signer, hashes.SHA256())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
