"""What holds for every test of crash safety."""

import pytest

# Before anything imports them: so that their asserts, too, show what was compared.
pytest.register_assert_rewrite("support.crash_site", "support.proofs", "support.victim")
