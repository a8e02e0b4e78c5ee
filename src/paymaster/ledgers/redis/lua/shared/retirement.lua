-- When accounts that may leave the ledger are looked for, the same as in `retirement.py`: the first page every hour, then one each second.
local LOOK_EVERY_MS, PAGE_EVERY_MS = 3600000, 1000
