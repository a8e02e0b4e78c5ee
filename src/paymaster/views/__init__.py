"""Read models: ledger status, recent calls, reports, words for states and durations; reads records and balances, and prints nothing."""
