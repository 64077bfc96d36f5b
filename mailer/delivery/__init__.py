"""From the outbox to the relay and back: claim, compose, send, record, and rescue what a dead worker left.

For others: `delivery` (what one worker runs), `rescue`, `journal` and `results` (jobs and restores use them),
`relay_pool` (relays and their connections). The other modules are parts of `delivery`.
"""
