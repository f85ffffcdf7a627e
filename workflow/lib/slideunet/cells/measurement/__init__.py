"""Measuring cells: sizes, shapes, intensities, neighbours."""
