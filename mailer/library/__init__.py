"""What mails and pages lead to: resources with versions and files, and cards on present law by state.

For others: `resources`, `law_cards`, `us_states`. `file_store` keeps files under the hash of their content.
"""
