"""The command line: commands, wiring, what people read."""
