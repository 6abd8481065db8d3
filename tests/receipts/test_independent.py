"""Tools that share no code with us read the same file: OpenSSL by hand, and the reference library of DSSE."""

import json
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope as ReferenceEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from dep_mcp.receipts import key_id, public_pem
from tests.receipts.conftest import Made

OPENSSL = shutil.which("openssl")


def reference_key(public: str) -> SSlibKey:
    raw = b64decode(public)[12:].hex()
    return SSlibKey(key_id(public), "ed25519", "ed25519", {"public": raw})


def test_the_reference_library_accepts_both_signatures(made: Made) -> None:
    """Its own encoding of what is signed, its own reading of the file."""
    envelope = ReferenceEnvelope.from_dict(json.loads(made.countersigned().model_dump_json()))
    keys = [reference_key(key.public) for key in (made.container, made.owner)]
    assert set(envelope.verify(keys, 2)) == {key_id(key.public) for key in (made.container, made.owner)}
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0]["digest"]["sha256"]


def test_the_reference_library_refuses_a_changed_receipt(made: Made) -> None:
    """The test above can fail."""
    whole = json.loads(made.countersigned().model_dump_json())
    envelope = ReferenceEnvelope.from_dict(whole)
    envelope.payload = envelope.payload.replace(b'"ranked":0.375', b'"ranked":0.875')
    with pytest.raises(VerificationError):
        envelope.verify([reference_key(made.owner.public)], 1)


@pytest.mark.skipif(OPENSSL is None, reason="no openssl")
def test_openssl_accepts_a_receipt_as_docs_receipts_says(made: Made, tmp_path: Path) -> None:
    """The commands of the page, as they stand there, and the same after one byte was changed."""
    page = (Path(__file__).parents[2] / "docs" / "receipts.md").read_text(encoding="utf-8")
    begin = page.index("```sh\n", page.index("## By hand")) + len("```sh\n")
    script = page[begin : page.index("```", begin)]
    (tmp_path / "receipt.json").write_text(made.countersigned().model_dump_json() + "\n", encoding="ascii")
    (tmp_path / "owner.pub").write_text(public_pem(made.owner.public), encoding="ascii")

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run()
    assert good.returncode == 0, good.stderr
    assert key_id(made.owner.public) in good.stdout
    assert good.stdout.count("Signature Verified Successfully") == 2
    whole = json.loads((tmp_path / "receipt.json").read_text())
    payload = bytearray(b64decode(whole["payload"]))
    payload[len(payload) // 2] ^= 1
    from base64 import b64encode

    (tmp_path / "receipt.json").write_text(json.dumps(whole | {"payload": b64encode(payload).decode()}))
    assert run().returncode != 0
