"""Every rule that can be broken: each is a problem type, answered to a request or a row."""

from shared.errors import Conflict, NotFound, ProblemError


class ResidentUnknown(NotFound):
    """Nobody on file has this id or identity document."""

    slug = "resident-unknown"
    title = "No such resident"
    cause = "The id or document names nobody who was sent to `/v1/residents:batch`."
    cure = "Send the resident first, then this row again."


class AreaUnknown(ProblemError):
    """An area code that is not on file, nor any area above it."""

    slug = "area-unknown"
    title = "No such area"
    status = 422
    cause = "The code, its office and its district are all unknown."
    cure = "Send the areas to `/v1/areas:batch` first."


class WrongState(Conflict):
    """The round's state does not allow it."""

    slug = "round-state"
    title = "The round is in another state"
    cause = "draft → open → closed → sealed: the step asked for skips a state or goes back."
    cure = "Look at `state` in `GET /v1/rounds`."


class RoundNotOpen(Conflict):
    """The round takes no samples: it is not open yet, or sealed."""

    slug = "round-not-open"
    title = "The round takes no entries"
    cause = "Entries are taken from the opening until the round is sealed."
    cure = "Open the round, or correct `round_id`."


class RoundsOverlap(Conflict):
    """Two rounds of one office would be under way at the same time."""

    slug = "rounds-overlap"
    title = "The round overlaps another one"
    cause = "Windows of rounds that share an office may not overlap."
    cure = "Move the window, or leave the office out."


class NumberTaken(Conflict):
    """Two rounds of one campaign would have the same number."""

    slug = "round-number-taken"
    title = "The campaign has a round of this number"
    cause = "Rounds of a campaign are numbered; the number belongs to a round with another id."
    cure = "Count on, or send the id under which that round was made."


class OutsideWindow(ProblemError):
    """The sampling time is outside the round's window."""

    slug = "outside-window"
    title = "Sampled outside the round"
    status = 422
    cause = "`sampled_at` lies before the round's opening or after its closing."
    cure = "Correct the time or the `round_id`: the sampling time decides where a sample belongs."


class FromTheFuture(ProblemError):
    """A time that lies ahead of the round's clock."""

    slug = "from-the-future"
    title = "A time ahead of the clock"
    status = 422
    cause = "The time lies ahead of the round's clock by more than the tolerance of 5 minutes."
    cure = "Set the sender's clock; on a manual clock, tick the round first."


class IdentityConflict(Conflict):
    """The id and the document of a row point to two different residents."""

    slug = "identity-conflict"
    title = "Id and document point to different people"
    cause = "`id` is one resident's, `id_document` another's."
    cure = "Find out which one is meant and send only that; merge the two if they are one person."


class CannotMerge(Conflict):
    """One of the two records was merged before."""

    slug = "cannot-merge"
    title = "These records cannot be merged"
    cause = "A record that was merged, or that others were merged into, is merged into none."
    cure = (
        "Merge into the record that was kept: `merged_into` of the resident. To keep the other one,"
        " undo the earlier merges first (`GET /v1/merges?resident=`)."
    )


class MergeUnknown(NotFound):
    """There is no merge of this id."""

    slug = "merge-unknown"
    title = "No such merge"
    cause = "The id names no merge of two records within the caller's areas."
    cure = "Use the id under which it was asked for; `GET /v1/merges` lists them."


class BadDocument(ProblemError):
    """An identity number that cannot be one of its type."""

    slug = "bad-document"
    title = "Not a valid identity number"
    status = 422
    cause = (
        "Not the form of this type of document; for `cn_ric` also an impossible birth date or a"
        " wrong check digit (ISO 7064 MOD 11-2)."
    )
    cure = "Read the number again from the document, or send it under the type that it is."


class NothingToCorrect(NotFound):
    """A correction or void names something that is not on file."""

    slug = "nothing-to-correct"
    title = "There is nothing to correct under this id"
    cause = (
        "`corrects` names no swab or report that stands, or not one of `sample_id`, or the row is"
        " about another person or round than the swab ever was. A void swab is not corrected."
    )
    cure = (
        "Send the original first, or correct the id. To change whose swab it is or when it was"
        " taken, let `corrects` name the `sample_id`."
    )


class ExclusionUnknown(NotFound):
    """There is no exclusion of this id."""

    slug = "exclusion-unknown"
    title = "No such exclusion"
    cause = "The id names no exclusion."
    cure = "Use the id under which it was filed."


class ClockRunsForward(Conflict):
    """A manual clock was to be set back, or the round has none."""

    slug = "clock"
    title = "The clock cannot be set so"
    cause = "A manual clock only runs forward, and only rounds made with one have it."
    cure = "Send a time after the round's `clock_at`."


class KeyNotCurrent(Conflict):
    """Numbers were to be sealed under a key that is not current in the process that was asked."""

    slug = "key-not-current"
    title = "The key is not the current one here"
    cause = "The keys file names another one, or this process has not read it again yet."
    cure = "Wait until `lastmetre_registry_key` of every process is 1 for that key, and ask again."
