# What this workflow uses of Snakemake besides its documented language, all of it in this file. Written for Snakemake
# 9.27 and held by tests/workflow/test_internals.py; look here first when another version behaves differently.
import os
import sys
from pathlib import Path

# The files of --configfile; none when the user gave none.
USER_CONFIG_FILES = [Path(path) for path in workflow.overwrite_configfiles]

# Whether this process is a job on a node of a cluster, not the run that submits them.
ON_NODE = workflow.remote_exec


def end_run(code, text):
    """End with an exit code of this workflow: Snakemake knows only 0 and 1, and turns every exception into 1."""
    print(text, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # Called from `onsuccess` and `onerror`, when no job runs any more but the folder is still locked.
    workflow.persistence.unlock()
    os._exit(code)
