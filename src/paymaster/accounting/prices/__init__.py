"""What a model costs: rates, their periods and tiers, and the catalogue they are found in; knows no usage format and no registry."""
