"""Outbox: the ledger of messages, with one row for each message, its states, attempts, and rows in doubt.

For others: `outbox` (put, record, cancel), `due_rows` (claim what is due), `attempts`, `held_messages` (held
by a fault of the service), `in_doubt` (decisions about unknown rows), `stats` (counts).
"""
