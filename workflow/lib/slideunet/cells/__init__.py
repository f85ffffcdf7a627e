"""From foreground probabilities to separated, numbered, measured and outlined cells."""
