"""Questions as long as those of GSM8K with their instruction, all different, and the one right answer to all."""

ANSWER = "42"
_SAY = "Solve the problem step by step, and end with a line that holds nothing but the number. "
_STORY = (
    "A baker fills tray {0} with {1} rolls before dawn, sells a third of them to the school across the road, burns {2} "
    "while she talks to the postman, and gives the last {3} to whoever knocks after closing time. Her neighbour, who "
    "keeps {4} hens, trades eggs for rolls at two to one, but only on days when the hens have laid more than {5} eggs. "
)
_ASK = "How many rolls are left on tray {0} when the street lamps are lit? "


def question(number: int, mark: str = "") -> str:
    """One of them, of about 640 characters, with a mark that tells benchmarks apart."""
    parts = [(number * factor + 7) % (97 + factor) for factor in (1, 3, 5, 7, 11)]
    text = mark + _SAY + _STORY.format(number, *parts) + _ASK.format(number)
    return text.ljust(640, ".")
