"""What reasoning_gym uses of `pycosat`, over `python-sat`: the former ships no wheel and needs a compiler."""

from collections.abc import Iterable, Iterator

from pysat.solvers import Minisat22


def itersolve(clauses: Iterable[Iterable[int]]) -> Iterator[list[int]]:
    """All solutions of a formula in conjunctive normal form, each as the list of true literals."""
    with Minisat22(bootstrap_with=[list(clause) for clause in clauses]) as solver:
        yield from solver.enum_models()
