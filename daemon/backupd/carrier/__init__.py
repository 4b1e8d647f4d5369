"""A second process for what leaves this host: it ships, verifies and cleans up.

SSH and compression want a core of their own, and one Python process has the use of one. The ledger
stays with the first process: the second knows nothing but the file at hand.
"""

from backupd.carrier.client import Carrier
from backupd.carrier.wire import CarrierConfig

__all__ = ["Carrier", "CarrierConfig"]
