"""What people are told: what is proved, by whom, and what isn't."""

import json
from typing import Any

from dep_mcp.protocol import Envelope
from dep_mcp.receipts import explain, key_id, verify
from tests.receipts.conftest import DIGEST, Made


def told(envelope: Envelope, owner: str | None = None) -> str:
    return explain(verify(envelope.model_dump_json().encode(), owner))


def test_every_field_is_named_under_who_stands_for_it(made: Made) -> None:
    """The container's part comes first, the operator's claims apart."""
    text = told(made.countersigned(identity="alice", policy_binds=True), made.owner.public)
    attested, claimed = text.split("Claimed by whoever ran the container:")
    for part in ("toy:odd 1", "0.500 (95 % interval 0.150 to 0.850, n = 4)", "4: 3 scored, 1 failures", "aggregate"):
        assert part in attested
    for part in (DIGEST, "alice", "kept by the operator"):
        assert part in claimed


def test_a_checked_owner_is_what_makes_it_worth_something(made: Made) -> None:
    """Whoever checks nothing is told that anybody could have signed it."""
    anybody = "anybody can mint a key"
    assert anybody not in told(made.countersigned(), made.owner.public)
    assert anybody in told(made.countersigned())
    assert key_id(made.owner.public)[:16] in told(made.countersigned())
    assert "bears no owner's signature" in told(made.envelope())


def test_on_ones_own_machine_policy_binds_nobody(made: Made) -> None:
    """The receipt must say so."""
    assert "binds nobody" in told(made.countersigned())


def test_what_was_not_stated_is_called_that(made: Made) -> None:
    """An endpoint of somebody else's may know neither scorer nor image."""

    def bare(statement: dict[str, Any]) -> None:
        attested, claimed = statement["predicate"]["attested"], statement["predicate"]["claimed"]
        attested |= {"scorer": None, "commitment": {"root": DIGEST, "items": 4}}
        attested["report"]["task"] = None
        attested["report"]["overall"] |= {"value": None, "low": None, "high": None, "stderr": None, "n": 0}
        claimed |= {"image": None, "model": None}

    text = explain(verify(made.forged(bare)))
    assert text.count("not stated") == 6
    assert "nothing was scored" in text
    assert f"{DIGEST} over 4 items" in text
    assert "toy 1" in text


def test_a_strangers_receipt_cannot_steer_the_terminal(made: Made) -> None:
    """Names come from whoever made the file."""
    text = told(made.countersigned(identity="\x1b[2J\rgood\n\u202e", model="m\x07"))
    assert all(sign.isprintable() for sign in text.replace("\n", ""))
    assert "\\u001b[2J" in text
    assert json.dumps("\x1b")[1:-1] in text
