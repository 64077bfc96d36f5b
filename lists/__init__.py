"""Who we may write to, and why: contacts, consent, subscriptions, suppressions, one permission rule."""
