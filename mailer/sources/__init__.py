"""Sources: one module for each reason to write; they do not import each other.

For others: `mailer/service.py` builds them. A source fills the outbox, composes its messages and settles
their results; `journeys` and `schedule` belong to `sequences`.
"""
