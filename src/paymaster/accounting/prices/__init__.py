"""Prices of models: rates, tiers, periods and the catalogue; knows no usage format and no registry."""
