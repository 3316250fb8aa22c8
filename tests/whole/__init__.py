"""The three services at once, on their real stores, under days that chance makes up."""
