"""Separating touching cells block by block."""
