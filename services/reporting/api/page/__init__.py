"""The live page: what offices and the command group look at.

Rendered on the server from the same figures as `GET /v1/coverage`, once a change and not once a
viewer; what changed is sent to all who look. Our own script puts it in place, sorts and switches.
"""
