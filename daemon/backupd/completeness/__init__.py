"""What should have come, and did not: judged of what came, by pure functions.

`expectations` is what a feed ought to deliver, `dates` when it is due, `arrivals` what came of a
date, `sequences` the gaps in its numbers, `judging` puts them together, `findings` says what people
are to be notified of. Nothing here reads a clock or a ledger.
"""
