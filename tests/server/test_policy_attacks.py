"""How much of a benchmark's targets its scores tell, under each policy, and that no sequence of events tells more."""

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dep_mcp.protocol import Disclosure, Policy, Quota
from dep_mcp.protocol.errors import SealError
from tests.server.policy_adversaries import ATTACKS, PARTS, Attack, Learnt, binary, policies
from tests.server.policy_oracle import WRONG, Answers, Oracle, Said, SessionOracle, ShortOracle

ITEMS, QUERIES = 200, 200
FEW_ITEMS = 12

# -- the instrument


def asked(oracle: Oracle, answers: Answers, **opening: Any) -> tuple[str, Mapping[int, float | None]]:
    """What a query tells, without ids and digests; or the code of its refusal."""
    try:
        told = oracle.ask(lambda _numbers: answers, **opening)
    except SealError as error:
        return error.code, {}
    apart = {"evaluation_id", "benchmark", "items_digest", "stands"}
    return f"{told.report.stands is None} {told.report.model_dump_json(exclude=apart)}", told.details


def said(epochs: int) -> st.SearchStrategy[Said]:
    one = st.sampled_from(["0", "1", WRONG])
    return st.one_of(st.none(), one, st.tuples(*[one] * epochs))


queries = st.integers(1, 3).flatmap(
    lambda epochs: st.fixed_dictionaries({
        "answers": st.dictionaries(st.integers(0, FEW_ITEMS - 1), said(epochs)),
        "epochs": st.just(epochs),
        "limit": st.sampled_from([None, 1, 5, 11]),
        "task": st.sampled_from([None, "part-01"]),
        "identity": st.sampled_from("ab"),
        "final": st.booleans(),
    })
)  # fmt: skip
any_policy = st.one_of(
    st.just(Policy(disclosure=Disclosure.FULL)),
    st.builds(
        Policy,
        disclosure=st.sampled_from([Disclosure.AGGREGATE, Disclosure.FINAL]),
        least_items=st.sampled_from([0, 4]),
        quota=st.sampled_from([None, Quota(scores=4, reserved=1), Quota(scores=3, window_s=7200)]),
        step=st.sampled_from([0.0, 0.1]),
    ),
)


@settings(max_examples=settings().max_examples // 2)
@given(policy=any_policy, asking=st.lists(queries, min_size=1, max_size=6))
def test_the_short_cut_tells_what_a_session_tells(policy: Policy, asking: list[dict[str, Any]]) -> None:
    """Reports, item details and refusals, one after the other: else the figures below would be of something else."""
    targets = "011010001110"
    whole, short = (kind(targets, policy, parts=3, seed=5) for kind in (SessionOracle, ShortOracle))
    for query in asking:
        assert asked(short, **query) == asked(whole, **query)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_gains_the_same_from_whole_sessions(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks themselves, small, on the server as it runs: with nothing in its way, and with everything."""
    monkeypatch.setattr("tests.server.policy_adversaries.EPOCHS", 40)
    all_of_them = list(policies(40).values())
    for policy in (all_of_them[0], all_of_them[1], all_of_them[-1]):
        whole, short = (attack.on(binary(40, policy, 1, kind), 40, 1) for kind in (SessionOracle, ShortOracle))
        assert whole == short


# -- what is learnt

GAINED: Mapping[str, tuple[float, ...]] = {
    "full (unprotected)":                    (0.50, 0.50, 0.50, 0.47, 0.50, 0.50, 0.50, 0.50),
    "aggregate (the default)":               (0.50, 0.50, 0.34, 0.47, 0.50, 0.50, 0.50, 0.30),
    "final":                                 (0.50, 0.50, 0.34, 0.47, 0.50, 0.00, 0.50, 0.30),
    "floor n/2":                             (0.50, 0.50, 0.34, 0.50, 0.00, 0.50, 0.50, 0.30),
    "step 0.01":                             (0.00, 0.00, 0.11, 0.00, 0.00, 0.00, 0.00, 0.28),
    "step 0.02":                             (0.00, 0.00, 0.09, 0.00, 0.00, 0.00, 0.00, 0.27),
    "step 0.02, floor n/2":                  (0.00, 0.00, 0.09, 0.00, 0.00, 0.00, 0.00, 0.27),
    "quota 10":                              (0.02, 0.05, 0.08, 0.03, 0.03, 0.45, 0.20, 0.07),
    "final, quota 10":                       (0.02, 0.05, 0.08, 0.03, 0.03, 0.00, 0.01, 0.07),
    "final, quota 10, floor n/2, step 0.02": (0.00, 0.00, 0.05, 0.00, 0.00, 0.00, 0.00, 0.07),
}  # fmt: skip
"""Accuracy over chance, of at most 0.5, by policy and attack, in the order of `ATTACKS`; the mean over some seeds."""
SEEDS = (1, 2, 3)
CHANCE = 0.05
LUCK = 3.0
"""Bits: accuracies of some hundred items are never quite those of a coin."""


def attacked(attack: str, policy: Policy, seed: int = 1) -> Learnt:
    return ATTACKS[attack].on(binary(ITEMS, policy, seed, ShortOracle), QUERIES, seed)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_succeeds_on_an_unprotected_server(attack: str) -> None:
    """One that fails there shows nothing where it fails elsewhere."""
    learnt = attacked(attack, policies(ITEMS)["full (unprotected)"])
    assert learnt.gained > 0.45
    assert learnt.bits > 0.9 * ITEMS


@pytest.mark.parametrize("name", GAINED)
def test_a_policy_bounds_an_attack(name: str) -> None:
    """As the table says; and what a policy does not protect against, it says too."""
    policy = policies(ITEMS)[name]
    gained = {attack: mean(attacked(attack, policy, seed).gained for seed in SEEDS) for attack in ATTACKS}
    assert gained == pytest.approx(dict(zip(ATTACKS, GAINED[name], strict=True)), abs=CHANCE)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", [name for name, policy in policies(ITEMS).items() if policy.quota or policy.step])
def test_no_attack_learns_more_than_scores_can_tell(name: str, attack: str) -> None:
    """So many series of scores are possible, whatever is asked; of rounded ones, only those that never fall."""
    policy, identities = policies(ITEMS)[name], ATTACKS[attack].identities
    learnt = attacked(attack, policy)
    scores = math.ceil(learnt.scores / identities)
    if policy.quota is not None:
        assert scores <= policy.quota.scores
    if policy.step:
        steps = round(1 / policy.step)
        most = math.log2(math.comb(scores + steps, steps))
    else:
        figures = 1 if policy.disclosure is Disclosure.FINAL else 1 + PARTS
        most = scores * figures * math.log2(ITEMS * policy.quota.scores + 1)
    assert learnt.bits <= identities * most + LUCK
