"""Reading any image, and the OME-Zarr stores everything else works on."""
