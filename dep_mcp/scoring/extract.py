"""Post-processing of model text: from what a model wrote to what is compared."""

import re
from collections.abc import Callable

Extract = Callable[[str], str | None]
"""Takes the model's text; `None` means that it holds no answer in the form asked for."""


def whole(text: str) -> str:
    """The whole text without surrounding blanks."""
    return text.strip()


def first_group(pattern: str) -> Extract:
    """The first group of the first match of a regular expression; `None` where it took no part."""
    compiled = re.compile(pattern)

    def extract(text: str) -> str | None:
        match = compiled.search(text)
        found = None if match is None else match[1]
        return None if found is None else found.strip()

    return extract


_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_LEAD = re.compile(r"^(?:the )?(?:final |correct )?answer(?: is)?\s*:?\s+", re.IGNORECASE)


def answer_tag(text: str) -> str:
    """What stands in the last `<answer>…</answer>`, else the whole text without chatter around it.

    Chatter is a lead such as "The answer is", bold or code marks, and one closing full stop.
    """
    tagged = _last_tagged(text)
    if tagged is not None:
        return tagged.strip()
    plain = _LEAD.sub("", text.strip()).strip("*`$ \n")
    return plain[:-1].rstrip("*`$ ") if plain.endswith(".") else plain


_TAIL_WORDS = 4
_FEW_LINES = 3


def short_answer(text: str) -> str:
    """The short answer at the end of a sentence or an equation, for models that answer in whole sentences.

    Of "6 + 2 = 8" it is "8", of "The GCD of 4 and 12 is 12." it is "12". In a text of more than three lines the
    first line counts, else the last. Where there is no such tail, it is `answer_tag`'s.
    """
    answer = answer_tag(text)
    lines = [line for line in answer.splitlines() if line.strip()]
    if not lines:
        return answer
    line = lines[-1] if len(lines) <= _FEW_LINES else lines[0]
    head, equals, tail = line.rpartition(" = ")
    if not equals:
        words = line.split()
        verbs = [place for place, word in enumerate(words) if word.lower().rstrip(":") in _VERBS]
        head, tail = " ".join(words[: verbs[-1]]) if verbs else "", " ".join(words[verbs[-1] + 1 :]) if verbs else ""
    if not head or not tail or len(tail.split()) > _TAIL_WORDS:
        return answer
    return answer_tag(tail)


_VERBS = frozenset({"is", "are", "was", "were", "equals"})


def _last_tagged(text: str) -> str | None:
    """One pass over the tags: a lazy pattern over the whole is quadratic in openings that are never closed."""
    start, last = None, None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            start = tag.end() if start is None else start
        elif start is not None:
            last, start = text[start : tag.start()], None
    return last


def plain_number(text: str) -> str:
    """A number as text without the commas that group its thousands."""
    return text.replace(",", "").strip()
