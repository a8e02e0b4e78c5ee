"""Pages and charts for people: the report page and the gateway's dashboard; knows read models and HTML, and no ledger."""
