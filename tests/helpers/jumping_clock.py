"""A wall clock that jumps, for processes that are started with it; other clocks go on evenly.

A library of a few lines is loaded before the C library (`LD_PRELOAD`): what reads the time of day
in such a process, of Python and of other libraries, gets that of the machine and an offset from a
file. `libfaketime` does the same, but that of Debian 12 breaks `time.sleep` of Python 3.11.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

typedef int (*reader)(clockid_t, struct timespec *);
static reader machine;
static volatile int64_t *offset;

static void prepare(void) {
    const char *path = getenv("JUMPING_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *at = file < 0 ? MAP_FAILED : mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) offset = at;
    machine = (reader)dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (!machine) prepare();
    int failed = machine(id, now);
    if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    if (!failed && now) {
        now->tv_sec = precise.tv_sec;
        now->tv_usec = precise.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *kept) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (kept) *kept = now.tv_sec;
    return now.tv_sec;
}
"""


def can_jump() -> bool:
    """Whether there is a compiler of C."""
    return shutil.which("cc") is not None


class JumpingClock:
    """A clock whose files are in `folder`; `environment` gives it to a process."""

    def __init__(self, folder: Path) -> None:
        source, library, file = (folder / f"clock.{end}" for end in ("c", "so", "offset"))
        source.write_text(_SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        file.write_bytes(struct.pack("q", 0))
        self.seconds = 0
        self._file = file
        self.environment = {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(file)}

    def jump(self, seconds: int) -> None:
        """Put the clock forward, or back."""
        self.seconds += seconds
        # In place, since processes have mapped it.
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as mapped:
            mapped[:8] = struct.pack("q", self.seconds)
