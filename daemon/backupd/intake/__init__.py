"""Intake: sees files, makes their rows, and decides when each is complete.

The observer gives hints, the scan is the truth, readiness is pure; `service` puts them together.
"""
