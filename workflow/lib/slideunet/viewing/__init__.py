"""A slide of a run in the browser of this machine: deep zoom, cells, their rows, the errors."""
