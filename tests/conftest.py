"""What holds for every test."""

from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine's load, nothing about the product.
settings.register_profile("backupd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("backupd")
