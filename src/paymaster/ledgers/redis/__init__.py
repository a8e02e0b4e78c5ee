"""A ledger on a Redis or Valkey server that many machines share; knows Lua scripts and connections, and neither models nor prices."""
