"""Telling a dead owner from a live one, and from one that can't be judged."""

import os
import subprocess
import sys

import pytest

from dep_mcp.containers.owner import Owner, this_process

SAY = "from dep_mcp.containers.owner import this_process; print(this_process())"


def me() -> Owner:
    owner = Owner.parse(this_process())
    assert owner is not None
    return owner


def test_this_process_lives() -> None:
    """The reaper runs in a process that owns containers itself."""
    assert not me().is_dead()
    assert this_process() == this_process()


def test_an_ended_process_is_dead() -> None:
    """What the reaper is for."""
    said = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stdout
    owner = Owner.parse(said.strip())

    assert owner is not None
    assert owner.is_dead()


def test_unburied_remains_are_dead() -> None:
    """A killed child stays in `/proc` until its parent asks for its status."""
    with subprocess.Popen([sys.executable, "-c", SAY + "; input()"], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        owner = Owner.parse(child.stdout.readline().strip())
        assert owner is not None
        assert not owner.is_dead()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert owner.is_dead()


def test_a_reused_number_is_another_process() -> None:
    """Process ids come round again; the start time doesn't."""
    assert Owner(me().host, me().pid, "1").is_dead()


def test_another_hosts_process_is_not_judged() -> None:
    """Two hosts may share an engine, and neither sees the other's processes."""
    assert not Owner("another", me().pid, "1").is_dead()
    assert not Owner("unknown", 1, "1").is_dead()


@pytest.mark.parametrize("text", ["", "x", "a/b/c", "/1/2", "a/1/", "a/1"])
def test_what_is_no_identity_is_not_judged(text: str) -> None:
    """Labels can be set by anyone."""
    assert Owner.parse(text) is None
