"""The daily report: what it says of a day, as text, as HTML and as a sheet, and the mail of them.

`model` is what is known, `building` makes it of what the ledger answers to `gathering`; all but the
latter is pure.
"""

from backupd.daily.gathering import report_of, reporting
from backupd.daily.mail import as_mail
from backupd.daily.page import as_page
from backupd.daily.text import as_text

__all__ = ["as_mail", "as_page", "as_text", "report_of", "reporting"]
