"""A seeded generator of believable microscopy with exact labels, for slides of any size."""
