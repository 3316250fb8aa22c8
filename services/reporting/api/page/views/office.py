"""An office: its people, by community."""

from services.reporting.api.page.views.account import Account


class Office(Account):
    """The account of one office by community."""

    by = "community"
