"""The size at which the network sees a slide."""
