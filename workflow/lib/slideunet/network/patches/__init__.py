"""Training patches: reading, targets and augmentation."""
