"""A verified receipt in plain words: what is proved, by whom, what is only claimed, and what isn't proved at all."""

from collections.abc import Iterable

from dep_mcp.protocol import Estimate, Policy, PublicKey
from dep_mcp.receipts.keys import key_id
from dep_mcp.receipts.verify import Verified

_NEVER = (
    "that the answers are those of the model named, or were got without help",
    "that this was the only try: whoever runs the container can try again and show the best",
    "that the benchmark's own targets are right",
)


def explain(verified: Verified) -> str:
    """Say what a receipt proves and what it doesn't, a line for each thing; safe for a terminal."""
    predicate = verified.statement.predicate
    attested, claimed = predicate.attested, predicate.claimed
    report, counts = attested.report, attested.report.counts
    task = f":{report.task}" if report.task else ""
    commitment = attested.commitment
    container = [
        ("benchmark", f"{report.benchmark}{task} {report.benchmark_version}"),
        ("score", f"{report.metric} {_estimate(report.overall)}"),
        ("bounds", f"{report.ranked:.3f} (failures as wrong; used for ranking) to {report.upper:.3f} (as right)"),
        ("answers", f"{counts.expected}: {counts.scored} scored, {counts.failed} failures; hash {attested.answers}"),
        ("scorer errors", f"{counts.scorer_errors}, counted as wrong"),
        ("prompts", report.items_digest),
        ("data", f"{attested.data}, {'encrypted until opened' if attested.sealed else 'not encrypted in the image'}"),
        ("scorer", attested.scorer or "not stated"),
        ("commitment", f"{commitment.root} over {commitment.items} items" if commitment else "none verified"),
        ("policy", _policy(attested.policy)),
    ]
    operator = [
        ("image", claimed.image or "not stated"),
        ("model", f"{claimed.model or 'not stated'}; its card {claimed.model_card or 'not stated'}"),
        ("settings", claimed.generation or "not stated"),
        ("identity", claimed.identity or "not stated"),
        ("time", claimed.at.isoformat()),
        ("turns", "kept by the operator against others" if claimed.policy_binds else _UNBOUND),
    ]
    lines = [
        f"receipt of evaluation {report.evaluation_id}: good",
        "",
        f"Signed with the key {_short(attested.public_key)}, which the receipt says the container minted:",
        *_table(container),
        "",
        "Claimed by whoever ran the container:",
        *_table(operator),
        "",
        "Proved:",
        *_bullets(_proved(verified)),
        "Not proved:",
        *_bullets((*_open_questions(verified), *_NEVER)),
    ]
    return "\n".join(map(_printable, lines))


_UNBOUND = "binds nobody: who runs a benchmark on a machine of their own can start over as often as they like"


def _proved(verified: Verified) -> list[str]:
    proved = ["nothing in this receipt was changed since the key above signed it"]
    if verified.owner_checked:
        proved.append(
            f"the holder of the key {(verified.owner or '')[:16]}, which you trust, stands for this: the container ran"
            " the image above and was found sealed; its key is the one above; number and hash of the answers are those"
            " of the journal"
        )
    return proved


def _open_questions(verified: Verified) -> list[str]:
    if verified.owner_checked:
        return ["that the holder of that key is honest: whoever has root on the machine can sign anything"]
    anybody = "that a sealed container signed it: anybody can mint a key and sign such a receipt"
    if verified.owner is None:
        return [anybody, "it bears no owner's signature"]
    return [anybody, f"the countersignature by {verified.owner[:16]}, which wasn't checked: give that key with --key"]


def _estimate(value: Estimate) -> str:
    if value.value is None:
        return "nothing was scored"
    return f"{value.value:.3f} (95 % interval {value.low:.3f} to {value.high:.3f}, n = {value.n})"


def _policy(policy: Policy) -> str:
    told = [f"discloses {policy.disclosure}"]
    if policy.least_items:
        told.append(f"scores no fewer than {policy.least_items} items")
    if policy.quota is not None:
        within = "" if policy.quota.window_s is None else f" within {policy.quota.window_s:g} s"
        told.append(f"{policy.quota.scores} scores of one identity{within}")
    if policy.step:
        told.append(f"in steps of {policy.step:g} (Ladder)")
    return ", ".join(told)


def _short(public: PublicKey) -> str:
    return key_id(public)[:16]


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {name:<14}{value}" for name, value in rows]


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"  - {line}" for line in lines]


def _printable(text: str) -> str:
    """A receipt comes from strangers: what would steer a terminal is shown by its number."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)
