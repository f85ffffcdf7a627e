"""An opened image: lazy pixels (c, y, x), its resolution levels, its pixel size."""
