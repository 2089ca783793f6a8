"""The requests of the comparison, each named by its section of RFC 9110 or of another document, and what the node answers.

Where others answer in another way, `differences` says why.
"""

from package import ACT, DIGITS, EMPTY, NOISE, PAGE, PERCENT, SIGNS, TABLE, address

DIGIT = address(DIGITS)
NOISY = address(NOISE)


class Case:
    """One request. `{tag}`, `{weak}`, `{date}`… in its fields are what each server says of the file at `path`."""

    def __init__(self, title, method, path, status, fields=(), version="1.1", form=None, place=None):
        self.title = title
        self.method = method
        self.path = path
        self.status = status
        self.fields = list(fields)
        self.version = version
        self.form = form
        self.place = place

    def target(self, host):
        """What stands in the request line."""
        return self.form.format(host=host, path=self.path) if self.form else self.path


def get(title, path, status, *fields, **more):
    """A GET request."""
    return Case(title, "GET", path, status, fields, **more)


def head(title, path, status, *fields, **more):
    """A HEAD request."""
    return Case(f"{title}, HEAD", "HEAD", path, status, fields, **more)


def part(title, asked, status, place=None, *fields, path=DIGIT):
    """A GET request with a range."""
    return Case(title, "GET", path, status, [f"Range: {asked}", *fields], place=place)


ADDRESSES = [
    get("4.2 the page of the site", "/", 200),
    head("9.3.2 the page of the site", "/", 200),
    get("4.2 a file", DIGIT, 200),
    head("9.3.2 a file", DIGIT, 200),
    get("4.2 a large file", NOISY, 200),
    get("4.2 a larger JSON", address(TABLE), 200),
    get("8.6 a file without bytes", address(EMPTY), 200),
    head("9.3.2 a file without bytes", address(EMPTY), 200),
    get("4.2 a folder", address(PAGE).removesuffix("index.html"), 200),
    get("4.2 its document", address(PAGE), 200),
    get("15.4.9 a folder without its slash", address(PAGE).removesuffix("/index.html"), 308),
    head("15.4.9 a folder without its slash", address(PAGE).removesuffix("/index.html"), 308),
    get("15.5.5 a folder without a document", "/datos/", 404),
    get("15.5.5 the same without its slash", "/datos", 404),
    get("15.5.5 nothing", "/nada", 404),
    head("15.5.5 nothing", "/nada", 404),
    get("15.5.5 a file with a slash", DIGIT + "/", 404),
    get("4.2.3 another case", DIGIT.upper(), 404),
    get("4.2 a query", DIGIT + "?a=b&c", 200),
    get("4.2 an empty query", DIGIT + "?", 200),
    get("4.2.3 spaces and letters", address(ACT), 200),
    get("4.2.3 hexadecimal digits in lower case", address(ACT).lower(), 200),
    get("4.2.3 encoded without need", "/%64atos/%63ifras%2Etxt", 200),
    get("4.2.3 signs", address(SIGNS), 200),
    get("4.2.3 signs as they are", "/" + SIGNS, 200),
    get("4.2.3 a percent sign", address(PERCENT), 200),
    get("4.2.3 a percent sign that encodes nothing", "/publicacion/100%.txt", 404),
    get("RFC 3986 section 2.4: encoded twice", address(ACT).replace("%", "%25"), 404),
    get("RFC 3986 section 2.2: an encoded slash", "/datos%2Fcifras.txt", 404),
    get("RFC 3986 section 6.2.2.3: dots", "/datos/../index.html", 404),
    get("RFC 3986 section 6.2.2.3: encoded dots", "/datos/%2e%2e/index.html", 404),
    get("RFC 3986 section 6.2.2.3: beyond the root", "/../etc/passwd", 404),
    get("RFC 3986 section 3.3: two slashes", "//datos//cifras.txt", 404),
    get("RFC 3986 section 2.1: an encoded NUL", "/datos/%00", 404),
    get("RFC 3986 section 2.1: an overlong slash", "/datos%c0%afcifras.txt", 404),
    get("RFC 3986 section 2: letters as they are", "/" + ACT.replace(" ", "%20"), 400,
        form="/publicacion/acta%20de%20c\u00c3\u00b3mputo%20\u00c3\u00b1.txt"),
    get("RFC 9112 section 3.2.2: the absolute form", DIGIT, 200, form="https://{host}{path}"),
    get("RFC 9112 section 3.2: a fragment", DIGIT, 400, form="{path}#x"),
    get("RFC 9112 section 9.3: version 1.0", DIGIT, 200, version="1.0"),
    head("RFC 9112 section 9.3: version 1.0", DIGIT, 200, version="1.0"),
]

METHODS = [
    Case("9.3.7 OPTIONS", "OPTIONS", DIGIT, 200),
    Case("9.3.7 OPTIONS of the server", "OPTIONS", "*", 200),
    Case("15.5.6 POST", "POST", DIGIT, 405, ["Content-Length: 0"]),
    Case("15.5.6 PUT", "PUT", DIGIT, 405, ["Content-Length: 0"]),
    Case("15.5.6 DELETE", "DELETE", DIGIT, 405),
    Case("15.5.6 PATCH", "PATCH", DIGIT, 405, ["Content-Length: 0"]),
    Case("9.3.8 TRACE", "TRACE", DIGIT, 405),
    Case("9.1 PROPFIND", "PROPFIND", DIGIT, 405),
    Case("9.1 a method that nobody knows", "ADIVINA", DIGIT, 405),
    Case("9.1 methods have a case", "get", DIGIT, 405),
    Case("15.5.6 POST where nothing is", "POST", "/nada", 405, ["Content-Length: 0"]),
    Case("9.3.6 CONNECT", "CONNECT", "localhost:443", 405),
]

RANGES = [
    part("14.1.2 the beginning", "bytes=0-99", 206, "bytes 0-99/1000"),
    part("14.1.2 one byte", "bytes=0-0", 206, "bytes 0-0/1000"),
    part("14.1.2 the last byte", "bytes=999-999", 206, "bytes 999-999/1000"),
    part("14.1.2 from the middle", "bytes=500-", 206, "bytes 500-999/1000"),
    part("14.1.2 everything", "bytes=0-", 206, "bytes 0-999/1000"),
    part("14.1.2 beyond the end", "bytes=990-5000", 206, "bytes 990-999/1000"),
    part("14.1.2 the last ten", "bytes=-10", 206, "bytes 990-999/1000"),
    part("14.1.2 the last thousand", "bytes=-1000", 206, "bytes 0-999/1000"),
    part("14.1.2 more than there is", "bytes=-5000", 206, "bytes 0-999/1000"),
    part("14.1.2 leading zeros", "bytes=0000-0009", 206, "bytes 0-9/1000"),
    part("14.1.2 numbers beyond 64 bits", "bytes=0-99999999999999999999999", 206, "bytes 0-999/1000"),
    part("14.1.2 a last part beyond 64 bits", "bytes=-99999999999999999999999", 206, "bytes 0-999/1000"),
    part("14.1.2 of a large file", "bytes=2999990-", 206, "bytes 2999990-2999999/3000000", path=NOISY),
    part("14.1.2 across its middle", "bytes=131000-1310720", 206, "bytes 131000-1310720/3000000", path=NOISY),
    part("14.1 units have no case", "BYTES=0-9", 206, "bytes 0-9/1000"),
    part("15.5.17 behind the end", "bytes=1000-", 416, "bytes */1000"),
    part("15.5.17 two bytes behind the end", "bytes=1000-1001", 416, "bytes */1000"),
    part("15.5.17 far behind the end", "bytes=99999999999999999999999-", 416, "bytes */1000"),
    part("15.5.17 the last none", "bytes=-0", 416, "bytes */1000"),
    part("15.5.17 two behind the end", "bytes=2000-,3000-4000", 416, "bytes */1000"),
    part("15.5.17 of no bytes", "bytes=0-", 416, "bytes */0", path=address(EMPTY)),
    part("14.1.2 the last of no bytes", "bytes=-5", 200, path=address(EMPTY)),
    part("14.2 backwards", "bytes=5-2", 200),
    part("14.2 no number", "bytes=abc", 200),
    part("14.2 nothing", "bytes=", 200),
    part("14.2 a dash", "bytes=-", 200),
    part("14.2 three numbers", "bytes=1-2-3", 200),
    part("14.2 a sign", "bytes=+1-2", 200),
    part("14.2 hexadecimal", "bytes=0x1-5", 200),
    part("14.2 a good and a bad one", "bytes=0-9,x", 200),
    part("14.2 without an equals sign", "bytes 0-9", 200),
    part("14.2 another unit", "lines=0-9", 200),
    part("14.2 no unit", "=0-9", 200),
    part("14.2 twice", "bytes=0-9", 200, None, "Range: bytes=20-29"),
    part("5.6.1 space around", "bytes= 0-9 , 20-29 ", 206),
    part("5.6.1 empty members", "bytes=,0-9,,20-29,", 206),
    part("15.3.7.2 two parts", "bytes=0-9,20-29", 206),
    part("15.3.7.2 three parts", "bytes=0-0,500-509,-1", 206),
    part("15.3.7.2 in their order", "bytes=-10,0-9", 206),
    part("15.3.7.2 of a large file", "bytes=0-99999,1000000-1099999,-5", 206, path=NOISY),
    part("15.3.7.2 one of two behind the end", "bytes=0-9,2000-", 206, "bytes 0-9/1000"),
    part("15.3.7.2 adjacent", "bytes=0-9,10-19", 206, "bytes 0-19/1000"),
    part("15.3.7.2 overlapping", "bytes=0-9,5-14", 206, "bytes 0-14/1000"),
    part("15.3.7.2 one inside another", "bytes=0-99,50-59", 206, "bytes 0-99/1000"),
    part("14.2 many overlapping", "bytes=0-5,1-6,2-7,3-8", 200),
    part("14.2 more than there is", "bytes=0-999,0-999", 200),
    part("14.2 seventeen", "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 170, 10)), 200),
    part("14.2 sixteen", "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 160, 10)), 206),
    part("14.2 a thousand", "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 1000, 2)), 200),
    head("14.2 a range", DIGIT, 200, "Range: bytes=0-9"),
    head("14.2 behind the end", DIGIT, 200, "Range: bytes=1000-"),
    part("14.2 where nothing is", "bytes=0-9", 404, path="/nada"),
    Case("14.2 POST", "POST", DIGIT, 405, ["Range: bytes=0-9", "Content-Length: 0"]),
]

IF_RANGE = [
    part("13.1.5 the tag", "bytes=0-9", 206, "bytes 0-9/1000", "If-Range: {tag}"),
    part("13.1.5 the tag, of a large file", "bytes=0-9", 206, "bytes 0-9/3000000", "If-Range: {tag}", path=NOISY),
    part("13.1.5 the tag as a weak one", "bytes=0-9", 200, None, "If-Range: {weak}"),
    part("13.1.5 another tag", "bytes=0-9", 200, None, 'If-Range: "otra"'),
    part("13.1.5 a list", "bytes=0-9", 200, None, "If-Range: {tag}, {tag}"),
    part("13.1.5 a tag without quotes", "bytes=0-9", 200, None, "If-Range: {bare}"),
    part("13.1.5 the date", "bytes=0-9", 206, "bytes 0-9/3000000", "If-Range: {date}", path=NOISY),
    part("13.1.5 the date of what has several forms", "bytes=0-9", 200, None, "If-Range: {date}"),
    part("13.1.5 an older date", "bytes=0-9", 200, None, "If-Range: {older}", path=NOISY),
    part("13.1.5 a newer date", "bytes=0-9", 200, None, "If-Range: {newer}", path=NOISY),
    part("13.1.5 no date", "bytes=0-9", 200, None, "If-Range: ayer"),
    part("13.1.5 another tag, behind the end", "bytes=1000-", 200, None, 'If-Range: "otra"'),
    part("13.1.5 the tag, behind the end", "bytes=1000-", 416, "bytes */1000", "If-Range: {tag}"),
    get("13.1.5 without a range", DIGIT, 200, "If-Range: {tag}"),
]

CONDITIONS = [
    get("13.1.2 the tag", DIGIT, 304, "If-None-Match: {tag}"),
    head("13.1.2 the tag", DIGIT, 304, "If-None-Match: {tag}"),
    get("13.1.2 the tag as a weak one", DIGIT, 304, "If-None-Match: {weak}"),
    get("13.1.2 any", DIGIT, 304, "If-None-Match: *"),
    get("13.1.2 a list", DIGIT, 304, 'If-None-Match: "x", W/"y", {tag}'),
    get("13.1.2 two lines", DIGIT, 304, 'If-None-Match: "x"', "If-None-Match: {tag}"),
    get("13.1.2 a tag with a comma", DIGIT, 304, 'If-None-Match: "x,y", {tag}'),
    get("13.1.2 another", DIGIT, 200, 'If-None-Match: "otra"'),
    get("13.1.2 without quotes", DIGIT, 200, "If-None-Match: {bare}"),
    get("13.1.2 nothing", DIGIT, 200, "If-None-Match:"),
    get("13.2.1 any, where nothing is", "/nada", 404, "If-None-Match: *"),
    get("13.1.1 the tag", DIGIT, 200, "If-Match: {tag}"),
    get("13.1.1 any", DIGIT, 200, "If-Match: *"),
    get("13.1.1 a list", DIGIT, 200, 'If-Match: "x", {tag}'),
    get("13.1.1 another", DIGIT, 412, 'If-Match: "otra"'),
    head("13.1.1 another", DIGIT, 412, 'If-Match: "otra"'),
    get("13.1.1 the tag as a weak one", DIGIT, 412, "If-Match: {weak}"),
    get("13.2.1 another, where nothing is", "/nada", 404, 'If-Match: "otra"'),
    get("13.1.3 the date", DIGIT, 304, "If-Modified-Since: {date}"),
    head("13.1.3 the date", DIGIT, 304, "If-Modified-Since: {date}"),
    get("5.6.7 the date as RFC 850 had it", DIGIT, 304, "If-Modified-Since: {date850}"),
    get("5.6.7 the date as asctime has it", DIGIT, 304, "If-Modified-Since: {dateasc}"),
    get("13.1.3 an older date", DIGIT, 200, "If-Modified-Since: {older}"),
    get("13.1.3 a newer date", DIGIT, 200, "If-Modified-Since: {newer}"),
    get("13.1.3 no date", DIGIT, 200, "If-Modified-Since: ayer"),
    get("13.1.3 a number", DIGIT, 200, "If-Modified-Since: 0"),
    get("13.1.4 the date", DIGIT, 200, "If-Unmodified-Since: {date}"),
    get("13.1.4 a newer date", DIGIT, 200, "If-Unmodified-Since: {newer}"),
    get("13.1.4 an older date", DIGIT, 412, "If-Unmodified-Since: {older}"),
    get("13.1.4 no date", DIGIT, 200, "If-Unmodified-Since: ayer"),
    Case("13.2.1 of a method that does not select", "OPTIONS", DIGIT, 200, ['If-Match: "otra"']),
    Case("13.2.1 of a method that is refused", "POST", DIGIT, 405, ['If-Match: "otra"', "Content-Length: 0"]),
]

PRECEDENCE = [
    get("13.2.2 another tag, the date", DIGIT, 200, 'If-None-Match: "otra"', "If-Modified-Since: {date}"),
    get("13.2.2 the tag, an older date", DIGIT, 304, "If-None-Match: {tag}", "If-Modified-Since: {older}"),
    get("13.2.2 the tag matches, since an older date", DIGIT, 200, "If-Match: {tag}", "If-Unmodified-Since: {older}"),
    get("13.2.2 another tag, since the date", DIGIT, 412, 'If-Match: "otra"', "If-Unmodified-Since: {date}"),
    get("13.2.2 matches and does not", DIGIT, 304, "If-Match: {tag}", "If-None-Match: {tag}"),
    get("13.2.2 matches both", DIGIT, 200, "If-Match: {tag}", 'If-None-Match: "otra"'),
    get("13.2.2 fails before it is not modified", DIGIT, 412, 'If-Match: "otra"', "If-None-Match: {tag}"),
    get("13.2.2 an older date before the tag", DIGIT, 412, "If-Unmodified-Since: {older}", "If-None-Match: {tag}"),
    get("13.2.2 both dates", DIGIT, 304, "If-Unmodified-Since: {date}", "If-Modified-Since: {date}"),
    part("13.2.2 a range if it matches", "bytes=0-9", 206, "bytes 0-9/1000", "If-Match: {tag}"),
    part("13.2.2 a range that fails", "bytes=0-9", 412, None, 'If-Match: "otra"'),
    part("13.2.2 a range of what is there", "bytes=0-9", 304, None, "If-None-Match: {tag}"),
    part("13.2.2 a range of what is not", "bytes=0-9", 206, "bytes 0-9/1000", 'If-None-Match: "otra"'),
    part("13.2.2 a range since the date", "bytes=0-9", 304, None, "If-Modified-Since: {date}"),
    part("13.2.2 not modified, behind the end", "bytes=1000-", 304, None, "If-None-Match: {tag}"),
    part("13.2.2 fails, behind the end", "bytes=1000-", 412, None, 'If-Match: "otra"'),
    part("13.2.2 everything", "bytes=0-9", 206, "bytes 0-9/1000", "If-Match: {tag}", 'If-None-Match: "otra"',
         "If-Modified-Since: {date}", "If-Unmodified-Since: {older}", "If-Range: {tag}"),
]

OTHERS = [
    get("12.5.3 no coding that there is", NOISY, 406, "Accept-Encoding: identity;q=0"),
    get("12.5.3 nothing at all", NOISY, 406, "Accept-Encoding: *;q=0"),
    get("12.5.3 an empty list", NOISY, 200, "Accept-Encoding:"),
    get("12.5.1 no type that there is", DIGIT, 200, "Accept: image/x-nada"),
    get("10.1.1 to go on", DIGIT, 200, "Expect: 100-continue"),
    get("10.1.1 what nobody does", DIGIT, 417, "Expect: milagros"),
    get("7.8 an upgrade", DIGIT, 200, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    get("7.6.1 it ends", DIGIT, 200, "Connection: close"),
    get("5.1 fields that nobody knows", DIGIT, 200, "X-Nada: 1", "Dnt: 1", "Cookie: a=b"),
]

ALL = ADDRESSES + METHODS + RANGES + IF_RANGE + CONDITIONS + PRECEDENCE + OTHERS
