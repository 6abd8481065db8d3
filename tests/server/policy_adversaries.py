"""Adversaries who ask a benchmark for scores in order to learn its targets, and how much they learn.

What is learnt of `n` items whose targets are known with accuracy `a` is `n (1 - H(a))` bits, with the binary entropy
`H(a) = -a log2 a - (1 - a) log2(1 - a)`: the mutual information of targets and guesses. It is summed over the items of
which an adversary is certain and those of which it only has a leaning; of the others it knows nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from dep_mcp.protocol import Disclosure, Policy, Quota
from dep_mcp.protocol.errors import QuotaError, TooFewItemsError
from tests.server.policy_oracle import WRONG, Answers, Choose, Oracle, Told

PARTS = 20
FEW = 10
EPOCHS = 1000
"""Most that an evaluation may have."""


def policies(items: int) -> dict[str, Policy]:
    """What a card may say, from nothing to everything."""
    half, final = items // 2, Disclosure.FINAL
    return {
        "full (unprotected)": Policy(disclosure=Disclosure.FULL),
        "aggregate (the default)": Policy(),
        "final": Policy(disclosure=final),
        "floor n/2": Policy(least_items=half),
        "step 0.01": Policy(step=0.01),
        "step 0.02": Policy(step=0.02),
        "step 0.02, floor n/2": Policy(step=0.02, least_items=half),
        "quota 10": Policy(quota=Quota(scores=10)),
        "final, quota 10": Policy(disclosure=final, quota=Quota(scores=10)),
        "final, quota 10, floor n/2, step 0.02": Policy(
            disclosure=final, quota=Quota(scores=10, reserved=1), least_items=half, step=0.02
        ),
    }


def binary(items: int, policy: Policy, seed: int, kind: Callable[..., Oracle]) -> Oracle:
    """A benchmark whose targets are coins, thrown with the seed."""
    targets = [Random(f"{seed}/{number}").choice("01") for number in range(items)]
    return kind(targets, policy, parts=PARTS, seed=seed)


@dataclass(frozen=True)
class Learnt:
    """Bits, accuracy over chance (0.5 is all), and how many scores it took."""

    bits: float
    gained: float
    scores: int


class Adversary:
    """Asks within a number of queries, and remembers what it knows for certain and what it only has a leaning to."""

    def __init__(self, oracle: Oracle, queries: int, rng: Random, identities: int) -> None:
        self._oracle = oracle
        self._identities = [f"lab-{number}" for number in range(identities)]
        self.rng = rng
        self.policy = oracle.policy
        self.parts = oracle.parts
        self.items = len(oracle.parts)
        self.left = queries if self.policy.quota is None else min(queries, identities * self.policy.quota.scores)
        self.scores = 0
        self.known: dict[int, str] = {}
        self.leaning: dict[int, str] = {}

    def ask(self, answers: Answers | Choose, **opening: object) -> Told | None:
        """Have answers scored; `None` where that is refused. A quota that is used up ends the first identity's part."""
        self.left -= 1
        choose = answers if callable(answers) else lambda _numbers: answers
        for identity in tuple(self._identities):
            for final in (False, True):
                try:
                    told = self._oracle.ask(choose, identity=identity, final=final, **opening)  # type: ignore[arg-type]
                except QuotaError:
                    continue
                except TooFewItemsError:
                    return None
                self._read(told)
                return told
            self._identities.remove(identity)
        self.left = 0
        return None

    def _read(self, told: Told) -> None:
        """What is told of each item needs no attack."""
        self.scores += 1
        for number, right in told.details.items():
            if right is not None and (said := told.answers.get(number)) in ("0", "1"):
                self.learn(number, str(said), right=right > 0)

    def learn(self, number: int, said: str, *, right: bool) -> None:
        self.known[number] = said if right else "10"[int(said)]

    def learnt(self) -> Learnt:
        """By the targets themselves, which it never sees."""
        leaning = {number: said for number, said in self.leaning.items() if number not in self.known}
        right = [sum(self._oracle.targets[n] == said for n, said in group.items()) for group in (self.known, leaning)]
        bits = sum(map(_bits, right, (len(self.known), len(leaning))))
        chance = (self.items - len(self.known) - len(leaning)) / 2
        return Learnt(bits, (sum(right) + chance) / self.items - 0.5, self.scores)


def _bits(right: int, items: int) -> float:
    accuracy = right / items if items else 0.5
    if accuracy <= 0.5:  # it would have been better off with a coin
        return 0.0
    return items * (1 + sum(p * math.log2(p) for p in (accuracy, 1 - accuracy) if p))


def flips(me: Adversary) -> None:
    """One answer at a time is another than in a base, and the score goes up or down; with steps, up or not."""
    base = dict.fromkeys(range(me.items), "1")
    first = me.ask(base)
    for number in range(me.items):
        if first is None or not me.left:
            return
        told = me.ask(base | {number: "0"})
        if told is None or (me.policy.step and told.identity != first.identity):
            continue  # a second identity's best score is another one
        if told.report.ranked != first.report.ranked or me.policy.step * me.items <= 1:
            me.learn(number, "0", right=told.report.ranked > first.report.ranked)
        if me.policy.step and told.report.ranked > first.report.ranked:
            base, first = base | {number: "0"}, told


def boosting(me: Adversary) -> None:
    """Random answers vote with what their score is over chance (the boosting attack of Blum and Hardt 2015)."""
    votes = [0.0] * me.items
    while me.left:
        said = [me.rng.choice("01") for _ in votes]
        told = me.ask(dict(enumerate(said)))
        if told is not None and told.report.stands is None:
            weight = told.report.ranked - 0.5
            votes = [vote + weight if one == "1" else vote - weight for vote, one in zip(votes, said, strict=True)]
    me.leaning = {number: "1" if vote > 0 else "0" for number, vote in enumerate(votes) if vote}


def few(me: Adversary) -> None:
    """The smallest evaluation that is scored, wrong on purpose but for one item; with steps, see `_ladder`."""
    if me.policy.step:
        _ladder(me)
        return

    def choose(numbers: Sequence[int]) -> Answers:
        return dict.fromkeys([number for number in numbers if number not in me.known][:1], "1")

    while me.left and len(me.known) < me.items:
        told = me.ask(choose, limit=max(FEW, me.policy.least_items))
        for number in told.answers if told else ():
            me.learn(number, "1", right=told is not None and told.report.ranked > 0)


def _ladder(me: Adversary) -> None:
    """Climb the steps of a part so small that an item is a step, if it is scored: the known answers, and one more."""
    numbers = [number for number in range(me.items) if me.parts[number] == me.parts[0]]
    best = 0.0
    for number in numbers:
        short = math.ceil((best + me.policy.step) * len(numbers) - 1e-6) - 1
        if not me.left or short > len(me.known):
            return
        told = me.ask(dict(list(me.known.items())[:short]) | {number: "1"}, task=me.parts[0])
        if told is None:
            return
        me.learn(number, "1", right=told.report.ranked > best)
        best = max(best, told.report.ranked)


def failures(me: Adversary) -> None:
    """All but one item are declared failures."""
    for number in range(me.items):
        told = me.ask({**dict.fromkeys(range(me.items)), number: "1"}) if me.left else None
        if told is None:
            return
        if not me.policy.step:
            me.learn(number, "1", right=told.report.ranked > 0)


def subtasks(me: Adversary) -> None:
    """As flips, in every sub-task at once."""
    base = dict.fromkeys(range(me.items), "1")
    first = me.ask(base)
    rest = {part: [n for n in range(me.items) if me.parts[n] == part] for part in sorted(set(me.parts))}
    while me.left and first is not None and first.report.subtasks and any(rest.values()):
        flipped = {part: numbers.pop() for part, numbers in rest.items() if numbers}
        told = me.ask(base | dict.fromkeys(flipped.values(), "0"))
        for part, number in flipped.items() if told else ():
            before, after = (one.report.subtasks[part].value or 0.0 for one in (first, told) if one)
            me.learn(number, "0", right=after > before)


def weights(me: Adversary) -> None:
    """With many epochs an item can count for 1, 2, 4… of them: an exact figure tells the targets of several."""
    if me.policy.step:
        return  # more than all of them together
    epochs = EPOCHS if me.policy.quota is None else min(EPOCHS, me.policy.quota.scores)
    digits = epochs.bit_length()
    rest = list(range(me.items))
    while me.left and rest:
        groups: dict[str, list[int]] = {}
        for number in rest:
            group = groups.setdefault("" if me.policy.disclosure is Disclosure.FINAL else me.parts[number], [])
            if len(group) < digits:
                group.append(number)
        counts = {number: 2**place for group in groups.values() for place, number in enumerate(group)}
        told = me.ask({number: ("1",) * count + (WRONG,) * (epochs - count) for number, count in counts.items()},
                      epochs=epochs)  # fmt: skip
        if told is None:
            return
        for part, group in groups.items():
            figure = told.report.subtasks[part].value if part else told.report.ranked
            total = round((figure or 0.0) * epochs * (me.parts.count(part) if part else me.items))
            for number in group:
                me.learn(number, "1", right=bool(total & counts[number]))
        rest = [number for number in rest if number not in counts]


def climb(me: Adversary) -> None:
    """Guess a block of items, and all others wrong, until it is worth a step; keep it, and go on to the next block."""
    step = me.policy.step or 0.01
    rest = me.rng.sample(range(me.items), me.items)
    best, tries = 0.0, 0
    block = _block(len(rest), step * me.items, me.left)
    while me.left and rest:
        guess = {number: me.rng.choice("01") for number in rest[:block]}
        told = me.ask(me.leaning | guess)
        if told is None:
            return
        tries += 1
        if told.report.ranked >= best + step - 1e-9:
            if (told.report.ranked - best) * me.items < len(guess) / 2:  # most of it was wrong
                guess = {number: "10"[int(said)] for number, said in guess.items()}
            me.leaning |= guess
            best, tries, rest = told.report.ranked, 0, rest[block:]
            block = _block(len(rest), step * me.items, me.left)
        elif tries * _tail(block, step * me.items) > 3:  # it was rounded up, and there is more to make good
            block, tries = block + 1, 0


def _block(rest: int, need: float, queries: int) -> int:
    """The smallest block with which the queries suffice, each block guessed as often as it takes on average."""
    sizes = range(math.ceil(need), rest + 1)
    return next((size for size in sizes if rest / size <= queries * _tail(size, need)), max(1, rest))


def _tail(size: int, need: float) -> float:
    """How likely so many of a block are right."""
    return sum(math.comb(size, right) for right in range(math.ceil(need - 1e-6), size + 1)) / 2**size


@dataclass(frozen=True)
class Attack:
    """What an adversary does, as how many identities."""

    how: Callable[[Adversary], None]
    identities: int = 1

    def on(self, oracle: Oracle, queries: int, seed: int) -> Learnt:
        """Carry it out."""
        me = Adversary(oracle, queries, Random(f"adversary {seed}"), self.identities)
        self.how(me)
        return me.learnt()


ATTACKS: Mapping[str, Attack] = {
    "flips of one answer": Attack(flips),
    "flips, two identities": Attack(flips, identities=2),
    "boosting": Attack(boosting),
    "few items": Attack(few),
    "failures but one": Attack(failures),
    "sub-tasks": Attack(subtasks),
    "weights by epochs": Attack(weights),
    "climbing by blocks": Attack(climb),
}
