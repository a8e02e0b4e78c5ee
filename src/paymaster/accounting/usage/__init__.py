"""What a call used, read from any provider's usage into one record; knows no price."""
