"""Accounts, prices, tokens and usage: what a call costs and whether it can be paid for; knows no network and no storage."""
