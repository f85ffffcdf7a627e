"""Reading the pages that the workflow writes."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """Collects all elements of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open_tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag
