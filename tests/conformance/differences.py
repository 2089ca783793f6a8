"""Where other servers answer in another way than the node, what they answer, and why the node does not.

Sections are of RFC 9110 where no other document is named. A difference that is not listed fails the comparison.
"""


class Difference:
    """What `server` answers to the requests with these titles."""

    def __init__(self, server, status, titles):
        self.server = server
        self.status = status
        self.titles = titles
        self.reason = ""


class Reason:
    """Why the node answers as it does."""

    def __init__(self, reason, *differences):
        self.differences = differences
        for difference in differences:
            difference.reason = reason


def nginx(status, *titles):
    """nginx 1.22 answers this."""
    return Difference("nginx", status, titles)


def h2o(status, *titles):
    """h2o 2.2 answers this."""
    return Difference("h2o", status, titles)


def both(status, *titles):
    """Both answer this."""
    return (nginx(status, *titles), h2o(status, *titles))


REASONS = [
    Reason(
        "15.4.9: permanent like 301, and the method stays what it was",
        *both(301, "15.4.9 a folder without its slash", "15.4.9 a folder without its slash, HEAD"),
    ),
    Reason(
        "15.5.5: a cut has files and no folders; nothing is there, and nothing is told about what else is",
        nginx(403, "15.5.5 a folder without a document"),
        *both(301, "15.5.5 the same without its slash"),
    ),
    Reason(
        "RFC 3986 section 2.1: no file can have this name, so nothing is there",
        nginx(400, "4.2.3 a percent sign that encodes nothing", "RFC 3986 section 2.1: an encoded NUL"),
        h2o(200, "4.2.3 a percent sign that encodes nothing"),
        h2o(301, "RFC 3986 section 2.1: an encoded NUL"),
    ),
    Reason(
        "RFC 3986 sections 2.2 and 6.2.2.3: other addresses; a cache in front keeps each under its own name, so one file "
        "has one address",
        *both(
            200,
            "RFC 3986 section 2.2: an encoded slash",
            "RFC 3986 section 6.2.2.3: dots",
            "RFC 3986 section 6.2.2.3: encoded dots",
            "RFC 3986 section 3.3: two slashes",
        ),
        nginx(400, "RFC 3986 section 6.2.2.3: beyond the root"),
    ),
    Reason(
        "RFC 9112 section 3.2: characters that no target can have are refused",
        *both(200, "RFC 3986 section 2: letters as they are"),
        nginx(200, "RFC 9112 section 3.2: a fragment"),
        h2o(404, "RFC 9112 section 3.2: a fragment"),
    ),
    Reason(
        "RFC 9112 section 3.2.2: a server must accept the absolute form",
        h2o(404, "RFC 9112 section 3.2.2: the absolute form"),
    ),
    Reason(
        "9.3.7: what can be asked is said, of an address and of the server",
        *both(405, "9.3.7 OPTIONS", "13.2.1 of a method that does not select"),
        nginx(400, "9.3.7 OPTIONS of the server"),
        h2o(404, "9.3.7 OPTIONS of the server"),
    ),
    Reason(
        "9.1 and 15.5.6: a method that is not allowed anywhere is refused before the address matters",
        nginx(400, "9.1 methods have a case", "9.3.6 CONNECT"),
        *both(404, "15.5.6 POST where nothing is"),
        h2o(404, "9.3.6 CONNECT"),
    ),
    Reason(
        "14.1.2: a number has no largest value, and what is beyond the end means the end",
        *both(416, "14.1.2 numbers beyond 64 bits", "14.1.2 a last part beyond 64 bits"),
    ),
    Reason("14.1: units have no case", h2o(416, "14.1 units have no case")),
    Reason(
        "15.5.17 and 14.1.2: no bytes have no first one, and no Content-Range can name the last none",
        nginx(200, "15.5.17 of no bytes"),
        h2o(206, "14.1.2 the last of no bytes"),
    ),
    Reason(
        "14.2: a range that is malformed, or of another unit, counts as not there",
        *both(
            416,
            "14.2 backwards",
            "14.2 no number",
            "14.2 a dash",
            "14.2 three numbers",
            "14.2 a sign",
            "14.2 hexadecimal",
            "14.2 a good and a bad one",
        ),
        h2o(416, "14.2 nothing", "14.2 without an equals sign", "14.2 another unit", "14.2 no unit"),
        *both(206, "14.2 twice"),
    ),
    Reason(
        "5.6.1: a list may have space and empty members",
        h2o(416, "5.6.1 space around"),
        nginx(416, "5.6.1 empty members"),
    ),
    Reason(
        "15.3.7.2: parts that overlap or touch may be sent as one",
        *both(206, "15.3.7.2 adjacent", "15.3.7.2 overlapping", "15.3.7.2 one inside another"),
    ),
    Reason(
        "14.2: many parts, or parts that are more than the whole, may be ignored (CVE-2011-3192)",
        *both(206, "14.2 many overlapping", "14.2 seventeen", "14.2 a thousand"),
        h2o(206, "14.2 more than there is"),
    ),
    Reason(
        "14.2: ranges are defined for GET only",
        *both(206, "14.2 a range, HEAD"),
        *both(416, "14.2 behind the end, HEAD"),
    ),
    Reason(
        "13.1.5: only a strong tag that is the same, or the very date, lets a range be followed",
        h2o(
            206,
            "13.1.5 the tag as a weak one",
            "13.1.5 another tag",
            "13.1.5 a list",
            "13.1.5 a tag without quotes",
            "13.1.5 an older date",
            "13.1.5 a newer date",
            "13.1.5 no date",
        ),
        h2o(416, "13.1.5 another tag, behind the end"),
    ),
    Reason(
        "8.8.2.2: forms in several codings share a date, which does not tell parts of them apart",
        *both(206, "13.1.5 the date of what has several forms"),
    ),
    Reason(
        "13.1.2: a list of tags that are compared weakly, on one line or on several (5.3), or any",
        h2o(
            200,
            "13.1.2 the tag as a weak one",
            "13.1.2 any",
            "13.1.2 a list",
            "13.1.2 two lines",
            "13.1.2 a tag with a comma",
        ),
        nginx(400, "13.1.2 two lines"),
    ),
    Reason(
        "13.1.1 and 13.1.4: these conditions must be evaluated, before all others",
        h2o(
            200,
            "13.1.1 another",
            "13.1.1 another, HEAD",
            "13.1.1 the tag as a weak one",
            "13.1.4 an older date",
            "13.2.2 another tag, since the date",
        ),
        h2o(304, "13.2.2 fails before it is not modified", "13.2.2 an older date before the tag"),
        h2o(206, "13.2.2 a range that fails"),
        h2o(416, "13.2.2 fails, behind the end"),
    ),
    Reason(
        "5.6.7: three forms of dates must be read",
        h2o(200, "5.6.7 the date as RFC 850 had it", "5.6.7 the date as asctime has it"),
    ),
    Reason(
        "13.1.3: after a rollback an older cut is served, and whoever holds a newer one must not keep it",
        h2o(304, "13.1.3 a newer date"),
    ),
    Reason("13.1.4: what is no date must be ignored", nginx(412, "13.1.4 no date")),
    Reason("13.1.3: with If-None-Match, the date must be ignored", nginx(200, "13.2.2 the tag, an older date")),
    Reason(
        "13.1.4: with If-Match, the date must be ignored",
        nginx(412, "13.2.2 the tag matches, since an older date", "13.2.2 everything"),
    ),
    Reason(
        "12.5.3: who refuses identity gets nothing that is in it",
        *both(200, "12.5.3 no coding that there is", "12.5.3 nothing at all"),
    ),
    Reason("10.1.1: an expectation that cannot be met may be refused", *both(200, "10.1.1 what nobody does")),
]

ALL = [difference for reason in REASONS for difference in reason.differences]


def find(server, title):
    """What is listed about a server and a request, or None."""
    listed = [difference for difference in ALL if difference.server == server and title in difference.titles]
    assert len(listed) <= 1, f"{server}: {title} is listed twice"
    return listed[0] if listed else None
