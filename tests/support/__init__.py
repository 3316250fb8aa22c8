"""What every suite stands on: real servers, tokens of a test issuer, and one way to wait."""
