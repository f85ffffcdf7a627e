#!/usr/bin/env bash
# The fast tests that need no torch, on every accepted Python that this machine has besides that of .venv.
#
#   pythons.sh MINOR        MINOR: that of .venv, which `make test` tries, such as 11
#
# An environment per Python, .venv-3.12 for example, with the packages of envs/imaging.yaml: torch for CUDA, which pip
# would take on most machines, is several GB. A Python that is missing, or whose packages cannot be installed, is named
# and passed over. Another way to try one, with everything: `make quick VENV=.venv-3.12-all PYTHON=python3.12`.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ROOMS=(cells figures geometry inputs readers report slides sources stores truth)

# A name on PATH need not run, as pyenv's do not for versions that are not chosen.
find_python() {
    local python
    for python in "python3.$1" ~/.pyenv/versions/"3.$1".*/bin/python; do
        if "$python" -c "import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, $1))" 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

install() {
    test -x "$2/bin/python" || "$1" -m venv "$2"
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
        $(sed -n 's/^ *- \([^ ]*==\)/\1/p' envs/imaging.yaml) \
        $(grep -E '^(pytest|pytest-xdist|hypothesis|ome-zarr|ome-zarr-models)==' envs/requirements-dev.txt)
}

for minor in 11 12 13; do
    [[ $minor != "$1" ]] || continue
    if ! python=$(find_python "$minor"); then
        echo "Python 3.$minor: not on this machine, not tried."
    elif ! install "$python" ".venv-3.$minor"; then
        echo "Python 3.$minor: its packages could not be installed, not tried."
    else
        echo "Python 3.$minor ($python):"
        ".venv-3.$minor/bin/python" -m pytest -q -n 2 --dist loadfile -m "not slow and not workflow" "${ROOMS[@]/#/tests/}"
    fi
done
