"""What an operator watches: health checks, Prometheus metrics, and the log.

For others: `health`, `metrics`, `logs`. Nothing here names a person.
"""
