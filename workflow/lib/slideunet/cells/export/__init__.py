"""Writing cells as Parquet, GeoJSON and OME-TIFF."""
