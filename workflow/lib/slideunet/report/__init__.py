"""One self-contained HTML page: tables, figures, overlays, provenance."""
