"""What adversaries learn of binary targets from scores, under each policy of a card, beside an unprotected server."""

from statistics import mean

from bench.report import Options, Table
from tests.server.policy_adversaries import ATTACKS, PARTS, Attack, Learnt, binary, policies
from tests.server.policy_oracle import ShortOracle

SIZE = 1000
"""Items, and queries."""


async def policy(options: Options) -> list[Table]:
    """Measure; each round has targets and adversaries of its own."""
    size = options.size(SIZE)
    table = Table(f"{size} items, {size} queries: bits learnt · accuracy over chance", ["policy", *ATTACKS])
    for name in policies(size):
        cells = []
        for attack in ATTACKS.values():
            seeds = range(options.seed, options.seed + options.rounds)
            cells.append(_cell([_attacked(attack, name, size, seed) for seed in seeds]))
        table.rows.append([name, *cells])
    table.notes += [
        f"means over the rounds; {PARTS} sub-tasks; an accuracy of 0.5 is chance, so that 0.50 over it is everything",
        "bits: n (1 - H(accuracy)), summed over the items that the adversary is certain of and those it leans to",
    ]
    return [table]


def _attacked(attack: Attack, name: str, size: int, seed: int) -> Learnt:
    return attack.on(binary(size, policies(size)[name], seed, ShortOracle), size, seed)


def _cell(learnt: list[Learnt]) -> str:
    return f"{mean(one.bits for one in learnt):.0f} · {mean(one.gained for one in learnt):.2f}"
