"""Training losses, the table that lists them (`schema`), and the networks that they need."""
