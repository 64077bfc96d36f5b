"""What we write, when, and whether it arrived."""
