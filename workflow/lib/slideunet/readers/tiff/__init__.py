"""Reading TIFF and OME-TIFF."""
