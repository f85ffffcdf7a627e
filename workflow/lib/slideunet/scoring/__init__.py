"""Counts first, ratios after: pixel and instance metrics and their intervals."""
