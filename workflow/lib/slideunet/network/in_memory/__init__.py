"""Training within a time budget, on images that are all in the memory of the device that trains."""
