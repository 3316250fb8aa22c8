"""The whole stack on one machine: embedded servers, the supervisor, and the `lastmetre` command."""
