"""The OME-Zarr stores and manifests of a run: written so that a crash loses one block at most."""
