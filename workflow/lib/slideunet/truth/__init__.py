"""Reading ground truth: label images, masks, OME-Zarr labels and GeoJSON polygons."""
