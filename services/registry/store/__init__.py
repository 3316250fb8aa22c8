"""All of registry's SQL, by noun. `account` is the one to read: where the account is computed."""
