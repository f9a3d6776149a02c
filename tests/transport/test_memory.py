"""What the C library does with the memory of large messages, in an interpreter of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource

from maim_trio._transport.memory import ReadSizes

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    messages = [b"x" * (1 << 20) for _ in range(8)]
    del messages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

sizes = ReadSizes()
sizes.next({missing}, 0)
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
faults()  # glibc learns from the first that are freed, and the memory comes from the kernel once
print(faults(), held)
"""


def run(missing):
    program = PROGRAM.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return map(int, done.stdout.split())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have other rules")
def test_the_memory_of_large_messages_is_kept_for_the_next_once_there_are_any():
    pages_before, held_before = run(0)
    pages, held = run(1 << 20)
    assert pages_before > 1000  # of 2,048
    assert pages < 100
    assert held < held_before + 4096  # KiB: nothing is taken for it
