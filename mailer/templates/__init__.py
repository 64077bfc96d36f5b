"""Templates: template files, the sandbox they run in, Markdown, and the content that a text may show.

For others: `templates`, `rendering`, `markdown`, `front_matter`, `local_time` (dates in words),
`clock_change`, `discreet`.
`sandbox` and `placeholders` restrict the template language.
"""
