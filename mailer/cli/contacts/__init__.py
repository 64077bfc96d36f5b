"""`mailer contact`: one person. `group` is the command; the other modules hold its larger subcommands."""
