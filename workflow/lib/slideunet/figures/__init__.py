"""Figures and encoded pictures, for training and reports."""
