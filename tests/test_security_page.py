"""The security page names tests for its claims: they must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_each_test_that_the_security_page_names_exists() -> None:
    """A renamed test would leave a claim without its proof."""
    rows = [
        line for line in (ROOT / "docs/security.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")
    ]
    threats = rows[1 : next(place for place, row in enumerate(rows) if row.startswith("| variable"))]
    assert len(threats) >= 15
    for row in threats:
        named = NAMED.findall(row)
        assert named, row
        for path, name in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert not name or re.search(rf"^(async )?def {name}\(", source, flags=re.MULTILINE), f"{path}::{name}"
