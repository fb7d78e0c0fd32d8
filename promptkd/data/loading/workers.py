"""The number of processes that load images."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)


def usable_cores() -> int:
    """The number of cores that this process may run on; where the system does not know it, of all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def clamped_workers(asked: int) -> int:
    """The number of loader workers for DATALOADER.NUM_WORKERS: as asked, but at most one a core, with a line.

    More workers than cores load no faster, and each holds its batches in memory. The option itself stays as it is, so
    that the configuration of a run is the same on every machine.

    Args:
        asked: DATALOADER.NUM_WORKERS; 0 for loading in the process that trains.
    """
    cores = usable_cores()
    if asked <= cores:
        return asked
    log.info("DATALOADER.NUM_WORKERS %d: %d workers load images, one for each core", asked, cores)
    return cores
