"""Monitoring: health checks, Prometheus metrics, and the log, for operators.

For others: `health`, `metrics`, `logs`. Their output names no person.
"""
