"""The console: pages where people would rather look than read. A page is one module in `pages/` and its templates."""
