"""Lists: contacts, consents, subscriptions, suppressions, and the rule of permission."""
