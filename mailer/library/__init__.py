"""Library: resources with versions and files, and cards on present law by state, for mails and pages.

For others: `resources`, `law_cards`, `us_states`. `file_store` stores files under the hash of their
content, `file_types` says which types are allowed.
"""
