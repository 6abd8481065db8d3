"""How many items there are, and what marks them; `bench.ours` writes others into a copy of this folder."""

SIZE = 1000
MARK = ""
