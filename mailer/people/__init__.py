"""What the service does with everything it keeps about one person, across all tables.

For others: `merging`, `address_change`, `erasure`, `data_export`, `timeline`, `eligibility` (would a mail go,
and which rule prevents it), `messages`, `message_history`, `import_undo`, `retention` (what is deleted by
itself).
"""
