"""The ledger of messages: one row a message, its states, its attempts, and the rows in doubt.

For others: `outbox` (put, claim, record), `attempts`, `held_messages` (kept back by a fault of the service),
`in_doubt` (decide about unknown rows), `stats` (counts).
"""
