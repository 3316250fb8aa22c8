"""What can go wrong here and is told in a sentence, without a traceback.

LocalError
├── FolderBusyError   another stack works in the data folder
├── ServerError       an embedded server did not start, or is gone
├── StackError        the stack cannot start, or cannot go on
├── KeysError         a file of keys cannot be changed as asked
├── NoStackError      no stack is known to run
├── TokenError        a token cannot be made as asked
├── JournalError      an import cannot note how far it is
├── MapError          a map is wrong or does not fit the file (mapping.py)
├── FileError         a file of rows cannot be read (rows.py)
└── CallError         a call to a service had no success (calls.py)
"""


class LocalError(Exception):
    """Base of what the `lastmetre` command reports; the message says why and what to do."""


class FolderBusyError(LocalError):
    """Another stack works in the folder."""


class ServerError(LocalError):
    """A server did not start, or is gone. The message ends with the last lines of its log."""


class StackError(LocalError):
    """The stack cannot start, or cannot go on."""


class KeysError(LocalError):
    """A file of keys cannot be changed as asked; it is as it was."""


class NoStackError(LocalError):
    """No stack is known to run."""


class TokenError(LocalError):
    """A token cannot be made as asked."""


class JournalError(LocalError):
    """An import cannot note how far it is: another one is at it, or the folder cannot be used."""
