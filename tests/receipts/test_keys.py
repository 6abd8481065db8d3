"""Keys: made, written, read; what is no Ed25519 key is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts import SigningKey, key_id, public_pem, read_public
from dep_mcp.receipts.keys import is_signed


def test_every_key_is_another() -> None:
    """Minted at each `open`."""
    assert len({SigningKey.mint().public for _ in range(20)}) == 20


def test_a_written_key_signs_as_before() -> None:
    """The owner's is kept for years."""
    key = SigningKey.mint()
    again = SigningKey.from_pem(key.pem())
    assert again.public == key.public
    assert again.sign(b"x") == key.sign(b"x")


def test_a_signature_is_good_for_its_key_and_message_only() -> None:
    """The one thing that all the rest stands on."""
    key, other = SigningKey.mint(), SigningKey.mint()
    signature = key.sign(b"message")
    assert is_signed(key.public, signature, b"message")
    assert not is_signed(key.public, signature, b"another")
    assert not is_signed(other.public, signature, b"message")
    assert signature.keyid == key_id(key.public)


def test_a_key_never_shows_its_private_half() -> None:
    """Not in a log, not in a traceback."""
    key = SigningKey.mint()
    private = key.pem().decode().splitlines()[1]
    assert private not in repr(key)


@pytest.mark.parametrize("text", [public_pem, lambda public: public, lambda public: f"  {public}\r\n"])
def test_a_public_key_is_read_in_either_form(text: "object") -> None:
    """A PEM file, or its middle line out of an e-mail."""
    public = SigningKey.mint().public
    assert callable(text)
    assert read_public(text(public)) == public


def test_the_written_public_key_is_what_the_library_writes() -> None:
    """We put the PEM together ourselves, so that no side has to load the library for it."""
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert public_pem(SigningKey(private).public) == pem


@pytest.mark.parametrize(
    "text", ["", "key", "MCowBQYDK2VwAyEA", public_pem("A" * 60), "MCowBQYDK2VwAyEA" + "A" * 42 + "B="]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """Empty, of another kind, or with spare bits set."""
    with pytest.raises(ReceiptError):
        read_public(text)


def test_a_private_key_is_no_public_one() -> None:
    """Somebody mixes up the two files; the message doesn't quote it."""
    pem = SigningKey.mint().pem().decode()
    with pytest.raises(ReceiptError) as error:
        read_public(pem)
    assert pem.splitlines()[1] not in error.value.detail


def test_what_is_no_private_key_is_refused() -> None:
    """Garbage, an encrypted one, one of another kind."""
    encrypted = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem in (b"", b"key", encrypted, curve, SigningKey.mint().public.encode()):
        with pytest.raises(ReceiptError):
            SigningKey.from_pem(pem)
