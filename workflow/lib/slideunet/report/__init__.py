"""The report, one self-contained HTML page: tables, figures, pictures, methods, provenance."""
