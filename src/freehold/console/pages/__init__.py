"""The console's pages: one module a page, which lists its addresses in `PAGES`."""
