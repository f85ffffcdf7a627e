"""Separated, measured cells and an honest accuracy report from microscopy images and whole slides."""

__version__ = "0.2.0"
