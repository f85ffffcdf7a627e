"""Exact tiled prediction of slides."""
