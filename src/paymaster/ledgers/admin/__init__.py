"""What an operator does with a ledger: look at all of it, export, import, archive and verify it; knows no call and no provider."""
