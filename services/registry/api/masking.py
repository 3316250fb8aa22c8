"""What is shown to those who have to recognise, and not to know (R20)."""

PHONE_DIGITS = 11
"""Of a mobile number in China: 3 of the network, 4 of the region, 4 of the subscriber."""


def masked(number: str) -> str:
    """Show enough of a number to recognise it, and no more."""
    # Half of it at most: a passport has but nine characters.
    shown = min(4, len(number) // 4)
    return number[:shown] + "*" * (len(number) - 2 * shown) + number[len(number) - shown :]


def masked_phone(phone: str) -> str:
    """Show the network and the subscriber's last digits, as shops and banks do."""
    if len(phone) < PHONE_DIGITS:
        return masked(phone)
    return phone[:3] + "*" * (len(phone) - 7) + phone[-4:]


def masked_name(name: str) -> str:
    """Show the family name, or what stands first."""
    return name[:1] + "*" * (len(name) - 1)
