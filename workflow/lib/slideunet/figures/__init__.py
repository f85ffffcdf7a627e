"""Figures shared by training and report."""
