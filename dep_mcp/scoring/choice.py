"""Choice by log-likelihood."""

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
from dep_mcp.scoring.port import Target


class Choice:
    """1 when the option with the highest log-likelihood is the target, else 0.

    The target is the option's index from 0, or a list of those that count. Equal maxima share the point, so that a
    model which can't tell options apart scores chance, not the position of the right option.

    Args:
        normalize: Divide each log-likelihood by its number of tokens.
    """

    isolated = False

    def __init__(self, *, normalize: bool = False) -> None:
        self._normalize = normalize

    def score(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> float:
        """Judge log-likelihoods."""
        if not isinstance(answer, ChoiceAnswer):
            return 0.0
        values = answer.log_likelihoods
        if self._normalize:
            values = tuple(value / count for value, count in zip(values, answer.token_counts, strict=True))
        best = [index for index, value in enumerate(values) if value == max(values)]
        right = target if isinstance(target, list) else [target]
        return sum(index in right for index in best) / len(best)
