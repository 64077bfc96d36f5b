"""One module for each reason to write; they do not import each other.

For others: `mailer/service.py` builds them. A source fills the outbox, composes its messages and settles
their outcomes; `journeys` and `schedule` belong to `sequences`.
"""
