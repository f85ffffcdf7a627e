"""Readers of image files: which one takes a file, and each format as a source."""
