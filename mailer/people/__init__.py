"""People: operations on everything stored about one person, across all tables.

For others: `merging`, `address_change`, `erasure`, `data_export`, `timeline`, `eligibility` (would a mail be
sent, and which rule prevents it), `messages`, `message_events`, `import_undo`, `retention` (what is deleted
automatically).
"""
