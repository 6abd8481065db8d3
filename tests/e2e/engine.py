"""What tests ask the container engine itself, past the toolkit."""

import subprocess


def containers(*pids: int) -> set[str]:
    """Those that processes with these ids made, running or not; others may use the engine meanwhile."""
    template = '{{.ID}} {{.Label "org.dep-mcp.orchestrator"}}'
    command = ["docker", "ps", "-a", "--format", template]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    owners = (line.split() for line in listed)
    return {words[0] for words in owners if len(words) > 1 and int(words[1].split("/")[1]) in pids}
