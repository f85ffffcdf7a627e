"""Where things are in a slide: blocks, tiles, windows and pyramid levels. Arithmetic, no files."""
