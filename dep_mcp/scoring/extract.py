"""Post-processing of model text: from what a model wrote to what is compared."""

import re
from collections.abc import Callable

Extract = Callable[[str], str | None]
"""Takes the model's text; `None` means that it holds no answer in the form asked for."""


def whole(text: str) -> str:
    """The whole text without surrounding blanks."""
    return text.strip()


def first_group(pattern: str) -> Extract:
    """The first group of the first match of a regular expression."""
    compiled = re.compile(pattern)

    def extract(text: str) -> str | None:
        match = compiled.search(text)
        return None if match is None else match[1].strip()

    return extract


_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_LEAD = re.compile(r"^(?:the )?(?:final |correct )?answer(?: is)?\s*:?\s+", re.IGNORECASE)


def answer_tag(text: str) -> str:
    """What stands in the last `<answer>…</answer>`, else the whole text without chatter around it.

    Chatter is a lead such as "The answer is", bold or code marks, and one closing full stop.
    """
    tags = _TAG.findall(text)
    if tags:
        return str(tags[-1]).strip()
    plain = _LEAD.sub("", text.strip()).strip("*`$ \n")
    return plain[:-1].rstrip("*`$ ") if plain.endswith(".") else plain


def plain_number(text: str) -> str:
    """A number as text without the commas that group its thousands."""
    return text.replace(",", "").strip()
