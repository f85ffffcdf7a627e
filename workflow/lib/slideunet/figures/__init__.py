"""Figures that training and report share."""
