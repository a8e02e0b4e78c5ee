"""What waits on disk while a ledger is unavailable: the ledger in front of it, its files, and a view of what is in them."""
