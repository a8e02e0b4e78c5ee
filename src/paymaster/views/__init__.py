"""Read models: ledger status, recent calls, reports, and the words for states and durations; prints nothing."""
