"""The server process: `python -m dep_mcp.adapters.llamacpp.server --model FILE.gguf --alias NAME`.

Prints one JSON line with its address once it is healthy. Settings are those under which llama.cpp repeats
itself: one slot, fixed batches, no prompt cache. Threads don't change the answers.
"""

import argparse
import json
import os
import signal
import sys
import threading


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT, or until standard input ends where that was asked for."""
    options = _parse(arguments)
    # Two threads that spin at barriers on busy cores are fifty times slower than one that sleeps.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        import xllamacpp
    except ImportError:
        sys.stderr.write("local models need the server that the extra brings: pip install 'dep-mcp[local]'\n")
        return 2
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # before the server makes its threads
    out, said = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
    if options.log:
        log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, options))  # returns once it is healthy
    except RuntimeError as error:
        said.write(f"llama.cpp refused to start: port {options.port} is taken, or {options.model} is no GGUF model")
        said.write(f" that it can load ({error}); its log is {options.log or 'above'}\n")
        return 2
    address = str(server.listening_address)
    out.write(json.dumps({"api_base": f"{address.rstrip('/')}/v1"}) + "\n")
    out.flush()
    if not options.exit_with_stdin:
        said.write(f"serving {options.alias}; its address is above; Ctrl-C stops it; llama.cpp's log: {options.log}\n")
        said.flush()
    else:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server
    os._exit(0)  # the library's own threads would delay an orderly exit


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dep-mcp model serve")
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--log", default="")
    parser.add_argument("--exit-with-stdin", action="store_true")
    return parser.parse_args(arguments)


def _parameters(xllamacpp: object, options: argparse.Namespace) -> object:
    parameters = xllamacpp.CommonParams()  # type: ignore[attr-defined]  # the library ships no types
    parameters.model.path = options.model
    parameters.model_alias = {options.alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_ctx = options.context
    parameters.n_parallel = 1
    parameters.n_batch = 2048
    parameters.n_ubatch = 512
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0  # or prompts pile up in memory although they are never used again
    parameters.ui = False
    return parameters


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # whoever started this process is gone, even if it was killed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
