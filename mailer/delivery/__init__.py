"""Delivery: claims, composes, sends and records messages, and rescues the claims of workers that ended.

For others: `delivery` (what one worker runs), `rescue`, `journal` and `results` (jobs and restores use
them), `relay_pool` (relays and their connections). The other modules are parts of `delivery`.
"""
