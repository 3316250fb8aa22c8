"""The district: everybody somebody answers for, by office."""

from services.reporting.api.page.views.account import Account


class District(Account):
    """The account by office."""

    by = "office"
