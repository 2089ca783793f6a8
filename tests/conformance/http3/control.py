"""Streams beside requests: control, QPACK, pushes and unknown ones (RFC 9114 sections 5.2, 6.2 and 7.2, RFC 9204)."""

from ledger import Suite, require

from . import frames as f

case = Suite()


def on_control(title, section, data, *codes, first=b"", end=False):
    """A case: these bytes on the control stream are an error of the connection."""

    @case(section, title)
    def _(dial):
        line = dial(greet=False)
        line.open(f.var(f.CONTROL) + (first or f.settings()) + data, end)
        line.connection_error(*codes)


def fine(title, section, data):
    """A case: these bytes on the control stream are none."""

    @case(section, title)
    def _(dial):
        line = dial()
        line.send(line.control, data)
        line.unharmed()


def instead(title, section, said, *codes):
    """A case: a control stream that begins with these bytes."""

    @case(section, title)
    def _(dial):
        line = dial(greet=False)
        line.open(f.var(f.CONTROL) + said)
        line.connection_error(*codes)


instead("DATA where SETTINGS have to be", "6.2.1", f.data(b"abc"), f.MISSING_SETTINGS)
instead("HEADERS where SETTINGS have to be", "6.2.1", f.request(), f.MISSING_SETTINGS)
instead("GOAWAY where SETTINGS have to be", "6.2.1", f.frame(f.GOAWAY, b"\0"), f.MISSING_SETTINGS)
instead("MAX_PUSH_ID where SETTINGS have to be", "6.2.1", f.frame(f.MAX_PUSH_ID, b"\0"), f.MISSING_SETTINGS)
instead("a reserved frame where SETTINGS have to be", "6.2.1", f.frame(0x21) + f.settings(), f.MISSING_SETTINGS)
for name, identifier in (("ENABLE_PUSH", 2), ("MAX_CONCURRENT_STREAMS", 3), ("INITIAL_WINDOW_SIZE", 4), ("MAX_FRAME_SIZE", 5)):
    instead(f"{name} of HTTP/2", "7.2.4.1", f.settings((identifier, 1)), f.SETTINGS_ERROR)
instead("a setting twice", "7.2.4", f.settings((6, 1000), (6, 1000)), f.SETTINGS_ERROR)
instead("SETTINGS that are cut off", "7.1", f.frame(f.SETTINGS, b"\6"), f.FRAME_ERROR)
instead("SETTINGS that end within a number", "7.1", f.frame(f.SETTINGS, b"\6\x80\0"), f.FRAME_ERROR)


@case("7.2.4.1", "settings that nobody knows are ignored, and those of extensions too")
def _(dial):
    line = dial(greet=False)
    line.greet(f.settings((0x21, 1), (0x1F * 1000 + 0x21, 7), (6, 1 << 20), (1, 4096), (7, 100), (0x33, 0), (8, 0), (0xABCD, 3)))
    line.unharmed()


@case("7.2.4.2", "requests before SETTINGS")
def _(dial):
    line = dial(greet=False)
    line.answered(line.ask(f.request()), 200)
    line.greet()
    line.unharmed()


on_control("SETTINGS twice", "7.2.4", f.settings(), f.FRAME_UNEXPECTED)
on_control("DATA on the control stream", "7.2.1", f.data(b"abc"), f.FRAME_UNEXPECTED)
on_control("DATA of nothing on the control stream", "7.2.1", f.data(b""), f.FRAME_UNEXPECTED)
on_control("HEADERS on the control stream", "7.2.2", f.request(), f.FRAME_UNEXPECTED)
on_control(
    "PUSH_PROMISE on the control stream", "7.2.5", f.frame(f.PUSH_PROMISE, b"\0" + f.section(f.asked())), f.FRAME_UNEXPECTED
)
for kind, name in ((2, "PRIORITY"), (6, "PING"), (8, "WINDOW_UPDATE"), (9, "CONTINUATION")):
    on_control(f"{name} of HTTP/2 on the control stream", "7.2.8", f.frame(kind, bytes(4)), f.FRAME_UNEXPECTED)
on_control("CANCEL_PUSH of what was not promised", "7.2.3", f.frame(f.CANCEL_PUSH, b"\1"), f.ID_ERROR)
on_control("MAX_PUSH_ID that becomes smaller", "7.2.7", f.frame(f.MAX_PUSH_ID, b"\5") + f.frame(f.MAX_PUSH_ID, b"\4"), f.ID_ERROR)
on_control("GOAWAY that becomes larger", "5.2", f.frame(f.GOAWAY, b"\4") + f.frame(f.GOAWAY, b"\x08"), f.ID_ERROR)
on_control("GOAWAY with something behind its number", "7.1", f.frame(f.GOAWAY, b"\0\0"), f.FRAME_ERROR)
on_control("GOAWAY without its number", "7.1", f.frame(f.GOAWAY, b""), f.FRAME_ERROR)
on_control("MAX_PUSH_ID with something behind its number", "7.1", f.frame(f.MAX_PUSH_ID, b"\1\1\1"), f.FRAME_ERROR)
on_control("MAX_PUSH_ID that ends within its number", "7.1", f.frame(f.MAX_PUSH_ID, b"\x80"), f.FRAME_ERROR)
on_control("the control stream ends", "6.2.1", b"", f.CLOSED_CRITICAL, end=True)
on_control("the control stream ends within a frame", "7.1", f.frame(0x21, b"a", 9), f.FRAME_ERROR, f.CLOSED_CRITICAL, end=True)
fine("MAX_PUSH_ID that becomes larger", "7.2.7", f.frame(f.MAX_PUSH_ID, b"\1") + f.frame(f.MAX_PUSH_ID, b"\5"))
fine("reserved kinds of frames are ignored", "7.2.8", f.frame(0x21, b"abc") + f.frame(0x1F * 99 + 0x21))
fine("unknown kinds of frames are ignored", "9", f.frame(0x2F, b"abc") + f.frame(0xABCDEF, bytes(1000)))
fine("PRIORITY_UPDATE", "7.2 of RFC 9218", f.frame(0xF0700, b"\0u=1, i") + f.frame(0xF0700, b"\x04u=9"))


@case("6.2.1", "the control stream is reset")
def _(dial):
    line = dial()
    line.unharmed()
    line.quic.reset_stream(line.control, f.NO_ERROR)
    line.connection_error(f.CLOSED_CRITICAL)


@case("6.2.1", "the client asks the server to end its control stream")
def _(dial):
    line = dial()
    line.unharmed()
    # STOP_SENDING of the server's first stream.
    line.inject(b"\5" + f.var(3) + f.var(f.NO_ERROR))
    line.connection_error(f.CLOSED_CRITICAL)


@case("6.2.1", "two control streams")
def _(dial):
    line = dial()
    line.open(f.var(f.CONTROL) + f.settings())
    line.connection_error(f.STREAM_CREATION)


@case("6.2.1", "SETTINGS byte by byte")
def _(dial):
    line = dial(greet=False)
    said = f.var(f.CONTROL) + f.settings((6, 70_000), (0x21, 1))
    control = line.open(said[:1])
    for at in range(1, len(said)):
        line.send(control, said[at : at + 1])
    line.unharmed()


@case("6.2.2", "a push of the client")
def _(dial):
    line = dial()
    line.open(f.var(f.PUSH) + b"\0")
    line.connection_error(f.STREAM_CREATION)


@case("6.2.3", "reserved and unknown streams are no error")
def _(dial):
    line = dial()
    for kind in (0x21, 0x1F * 1000 + 0x21, 0x2F, 0x54):
        line.open(f.var(kind) + b"whatever", end=True)
    line.unharmed()


@case("6.2", "a stream that ends before its kind is known")
def _(dial):
    line = dial()
    line.open(b"", end=True)
    line.open(b"\x40", end=True)
    line.unharmed()


@case("5.2", "what is under way is answered behind the client's GOAWAY")
def _(dial):
    from package import FILES, NOISE, address

    line = dial()
    number = line.ask(f.request(address(NOISE)))
    line.send(line.control, f.frame(f.GOAWAY, b"\0"))
    line.answered(number, 200, FILES[NOISE])


for kind, name in ((f.ENCODER, "encoder"), (f.DECODER, "decoder")):

    @case("4.2 of RFC 9204", f"two {name} streams")
    def _(dial, kind=kind):
        line = dial()
        line.open(f.var(kind))
        line.connection_error(f.STREAM_CREATION)

    @case("4.2 of RFC 9204", f"the {name} stream ends")
    def _(dial, kind=kind):
        line = dial()
        line.send(line.encoder if kind == f.ENCODER else line.decoder, b"", end=True)
        line.connection_error(f.CLOSED_CRITICAL)


def on_qpack(title, section, stream, data, *codes):
    """A case: an instruction that is an error of the connection."""

    @case(f"{section} of RFC 9204", title)
    def _(dial):
        line = dial()
        line.send(line.encoder if stream == f.ENCODER else line.decoder, data)
        line.connection_error(*codes)


on_qpack("a capacity beyond what is allowed", "4.3.1", f.ENCODER, f.number(0x20, 5, 4096), f.ENCODER_STREAM)
on_qpack("an entry that does not fit", "3.2.2", f.ENCODER, b"\x43abc\3def", f.ENCODER_STREAM)
on_qpack("an entry with a name behind the static table", "3.1", f.ENCODER, b"\xff\x24\3def", f.ENCODER_STREAM)
on_qpack("a copy of an entry that is not", "4.3.4", f.ENCODER, b"\0", f.ENCODER_STREAM)
on_qpack("an increment of nothing", "4.4.3", f.DECODER, b"\0", f.DECODER_STREAM)
on_qpack("an increment by what was not sent", "4.4.3", f.DECODER, b"\5", f.DECODER_STREAM)
on_qpack("an acknowledgement of nothing", "4.4.1", f.DECODER, b"\x80", f.DECODER_STREAM)


@case("4.3.1 of RFC 9204", "a capacity of nothing is fine")
def _(dial):
    line = dial()
    line.send(line.encoder, b"\x20")
    line.unharmed()


@case("4.4.2 of RFC 9204", "the cancellation of a stream is fine")
def _(dial):
    line = dial()
    line.send(line.decoder, b"\x40")
    line.unharmed()


@case("10.5", "frames beside requests without end")
def _(dial):
    line = dial()
    for _ in range(400):
        if line.closed:
            break
        line.send(line.control, f.frame(0x21, bytes(500)))
        line.until(lambda: True, "")
        line.quic.send_ping(0)
    line.connection_error(f.EXCESSIVE_LOAD)
    require(not any(stream.data for number, stream in line.streams.items() if number % 4 == 0), line.seen())
