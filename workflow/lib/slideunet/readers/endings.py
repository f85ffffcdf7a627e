"""The endings of the names of all files that can be read; the content decides which reader takes a file."""

RASTER_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf2", ".tf8", ".qptiff", ".lsm")
ZARR_ENDINGS = (".zarr",)
SLIDE_ENDINGS = (*(".svs", ".ndpi", ".vms", ".vmu", ".mrxs", ".scn", ".bif", ".svslide", ".czi", ".dcm"),)
"""Of vendors' slides, which OpenSlide reads (as well as some TIFF)."""

IMAGE_ENDINGS = (
    *RASTER_ENDINGS,
    *TIFF_ENDINGS,
    *ZARR_ENDINGS,
    *SLIDE_ENDINGS,
    *(f".ome{ending}" for ending in (*TIFF_ENDINGS, *ZARR_ENDINGS)),
)
LABEL_ENDINGS = (*IMAGE_ENDINGS, ".geojson", ".json", ".geojson.gz", ".json.gz")

ROI_REMEDY = (
    "Open the image in QuPath (0.4 or later), drop the ROIs on it and export the objects as GeoJSON; or draw "
    "them into a label image in Fiji."
)
"""What to do with regions of interest of ImageJ (.roi, or several in a .zip)."""
