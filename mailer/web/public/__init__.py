"""Public pages, one file each: parse, call a function of a lower wing, show a page; only these commit."""
