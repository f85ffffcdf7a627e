"""Pixel and instance metrics with confidence intervals: counts are added, ratios are derived last."""
