"""Ed25519 keys: minted, written, named. `cryptography` is loaded on first use, and nowhere else in this room."""

import hashlib
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final, Self

from dep_mcp.protocol import PublicKey, Signature
from dep_mcp.protocol.errors import ReceiptError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""What comes before the 32 bytes of every Ed25519 key in its SubjectPublicKeyInfo (RFC 8410)."""
_BASE64 = re.compile(r"MCowBQYDK2VwAyEA[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


class SigningKey:
    """A private key.

    Args:
        private: The library's.

    Attributes:
        public: Its public half.
    """

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.public: PublicKey = b64encode(_SPKI + private.public_key().public_bytes_raw()).decode()

    def __repr__(self) -> str:
        """Without the private half, so that no log or traceback can hold it."""
        return f"SigningKey({key_id(self.public)[:16]})"

    @classmethod
    def mint(cls) -> Self:
        """Make a new key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a key that `pem` wrote, or `openssl genpkey -algorithm ed25519`.

        Raises:
            ReceiptError: It is no unencrypted Ed25519 key.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key: object = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # a TypeError: it is encrypted
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            msg = (
                "no Ed25519 key: it must be an unencrypted PEM file, as `openssl genpkey -algorithm ed25519` writes it"
            )
            raise ReceiptError(msg)
        return cls(key)

    def pem(self) -> bytes:
        """The private half, as PKCS#8."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> Signature:
        """Sign bytes."""
        return Signature(keyid=key_id(self.public), sig=b64encode(self._private.sign(message)).decode())


def key_id(public: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo in hexadecimal, as `openssl pkey -pubin -outform DER | sha256sum` has it."""
    return hashlib.sha256(b64decode(public)).hexdigest()


def public_pem(public: PublicKey) -> str:
    """A public key as a PEM file."""
    return f"-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n"


def read_public(text: str) -> PublicKey:
    """Read a public key: a PEM file, or its middle line.

    Raises:
        ReceiptError: It is no Ed25519 public key.
    """
    middle = "".join(line.strip() for line in text.splitlines() if not line.startswith("-----"))
    if not _BASE64.fullmatch(middle):
        msg = "no Ed25519 public key: it must be the PEM file that `dep-mcp key show` prints"
        raise ReceiptError(msg)
    return middle


def is_signed(public: PublicKey, signature: Signature, message: bytes) -> bool:
    """Whether a signature over a message is by that key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = Ed25519PublicKey.from_public_bytes(b64decode(public)[len(_SPKI) :])
    try:
        key.verify(b64decode(signature.sig), message)
    except InvalidSignature:
        return False
    return True
