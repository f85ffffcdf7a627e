"""From predicted maps to separated, numbered, measured and exported cells."""
