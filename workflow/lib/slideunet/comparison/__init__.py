"""Several runs on the same slides: pairs by content, differences with intervals, verdict, and a page."""
