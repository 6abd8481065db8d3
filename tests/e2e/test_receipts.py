"""Receipts and commitments, by the command line, of benchmarks in their own containers."""

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import toy_folder

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""


@pytest.fixture
def replayed(tmp_path: Path) -> str:
    """A model whose answers to the toy benchmark are recorded: all right but one."""
    path = tmp_path / "answers.jsonl"
    lines = [{"item_id": f"toy-{number}", "answer": f"target-{number + 1 if number else 0}"} for number in range(300)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"replay:{path}"


def test_a_score_comes_with_a_receipt_that_verifies_offline(cli: Cli, replayed: str, tmp_path: Path) -> None:
    """Elsewhere, without engine or store, by the owner's public key; and whatever is changed in it, it doesn't."""
    (document,) = cli.documents("run", "-b", "toy", "-m", replayed)
    evaluation_id = document["evaluation"]["evaluation_id"]
    receipt, key, answers = (tmp_path / name for name in ("receipt.json", "owner.pub", "answers.txt"))
    assert cli("receipt", "export", evaluation_id, "-o", receipt, "--answers", answers).returncode == 0
    key.write_text(cli("key", "show").stdout)
    assert json.loads(receipt.read_text()) == document["receipt"]

    elsewhere = {"DEP_MCP_HOME": str(tmp_path / "elsewhere"), "DOCKER_HOST": "unix:///nonexistent"}
    good = cli("receipt", "verify", receipt, "--key", key, **elsewhere)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "accuracy 0.997" in good.stdout
    assert "which you trust" in good.stdout
    unchecked = cli("receipt", "verify", receipt, **elsewhere)
    assert "wasn't checked" in unchecked.stdout
    own = cli("receipt", "verify", receipt)
    assert "which you trust" in own.stdout

    envelope = json.loads(receipt.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    (subject,) = statement["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256(answers.read_bytes()).hexdigest()
    attested, claimed = statement["predicate"]["attested"], statement["predicate"]["claimed"]
    assert attested["report"] == document["report"]
    assert claimed["image"] == document["evaluation"]["settings"]["image_digest"]
    changed = json.dumps(statement).replace('"ranked": 0.99', '"ranked": 1.0')
    assert changed != json.dumps(statement)
    envelope["payload"] = base64.b64encode(changed.encode()).decode()
    receipt.write_text(json.dumps(envelope))
    for arguments in ((), ("--key", key)):
        bad = cli("receipt", "verify", receipt, *arguments)
        assert (bad.returncode, bad.stdout[:11]) == (1, "BAD RECEIPT")


def test_a_receipt_of_another_owner_is_refused(cli: Cli, replayed: str, tmp_path: Path) -> None:
    """And one that isn't there yet is told."""
    (document,) = cli.documents("run", "-b", "toy", "-m", replayed, "--limit", 5)
    evaluation_id = document["evaluation"]["evaluation_id"]
    receipt, key = tmp_path / "receipt.json", tmp_path / "other.pub"
    receipt.write_text(cli("receipt", "export", evaluation_id).stdout)
    key.write_text(cli("key", "new", DEP_MCP_HOME=str(tmp_path / "other")).stdout)
    refused = cli("receipt", "verify", receipt, "--key", key)
    assert (refused.returncode, "isn't countersigned by the key" in refused.stdout) == (1, True)
    missing = cli("key", "show", DEP_MCP_HOME=str(tmp_path / "none"))
    assert (missing.returncode, "key new" in missing.stderr) == (2, True)


def test_a_benchmark_is_committed_to_and_opened_when_it_retires(cli: Cli, tmp_path: Path) -> None:
    """The salt is in no argument, variable or label of the container that computes it."""
    folder = tmp_path / "mine"
    shutil.copytree(toy_folder(), folder)
    card = folder / "dataset_card.yaml"
    committed = cli("bench", "commit", folder)
    assert committed.returncode == 0, committed.stderr
    with card.open("a") as file:
        file.write(committed.stdout)
    assert "is in use" in cli("bench", "open", folder).stderr
    with card.open("a") as file:
        file.write("retired: true\n")
    opened, one = tmp_path / "opened.jsonl", tmp_path / "one.jsonl"
    whole = cli("bench", "open", folder, "-o", opened)
    assert whole.returncode == 0, whole.stderr
    single = cli("bench", "open", folder, "--item", "toy-3", "-o", one)
    assert single.returncode == 0, single.stderr
    assert "300 of 300" in cli("bench", "verify-opening", folder, opened).stdout
    assert "1 of 300" in cli("bench", "verify-opening", folder, one).stdout
    opened.write_text(opened.read_text().replace("target-7", "target-8", 1))
    bad = cli("bench", "verify-opening", folder, opened)
    assert (bad.returncode, bad.stdout[:11]) == (1, "BAD OPENING")
    (salt,) = (path.read_text() for path in (tmp_path / "home" / "keys").glob("*.salt"))
    engine = subprocess.run(
        ["docker", "system", "events", "--since", "10m", "--until", "0s"], capture_output=True, check=True
    )
    assert salt.encode() not in engine.stdout
