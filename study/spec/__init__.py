"""The spec of a study: models, reading and validation; every mistake names its field."""
