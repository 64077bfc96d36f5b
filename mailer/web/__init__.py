"""Web: pages and forms; a handler parses a request, calls a function of a lower wing and renders a page."""
