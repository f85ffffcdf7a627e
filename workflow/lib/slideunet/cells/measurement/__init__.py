"""Measurements of cells: sizes, shapes, intensities, neighbours."""
