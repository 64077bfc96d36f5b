"""Texts: template files, the sandbox they run in, Markdown, and what every text may show.

For others: `templates`, `rendering`, `markdown`, `front_matter`, `local_time` (dates in words), `discreet`.
`sandbox` and `placeholders` guard the template language.
"""
