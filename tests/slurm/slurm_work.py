"""A task for workers, in a file that they can import."""

import os
import time

import slideunet


def where_am_i(seconds):
    time.sleep(seconds)
    return os.environ["SLURMD_NODENAME"], os.environ["OMP_NUM_THREADS"], slideunet.__file__
