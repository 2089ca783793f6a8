"""Compression of fields (RFC 7541): what decodes, and what must not."""

import hpack

from ledger import Suite, require

from . import frames as f

case = Suite()
BLOCK = f.block(f.asked())
STATIC = b"\x82\x87\x84" + f.literal(":authority", "localhost")
"""GET, https and `/` from the static table."""


def compression(title, section, block):
    """A case: this block cannot be decoded."""

    @case(f"RFC 7541 section {section}", title)
    def _(dial):
        line = dial()
        line.send(f.headers(1, block))
        line.connection_error(f.COMPRESSION)


def decodes(title, section, *blocks):
    """A case: each block is a request."""

    @case(f"RFC 7541 section {section}", title)
    def _(dial):
        line = dial()
        for at, block in enumerate(blocks):
            line.send(f.headers(2 * at + 1, block))
            line.answered(2 * at + 1)


ADDED = b"\x40\x06x-nada\x02si"
"""`x-nada: si`, which goes into the table."""

compression("an index behind both tables", "2.3.3", BLOCK + b"\xbe")
compression("an index far behind both tables", "2.3.3", BLOCK + b"\xff\xff\xff\x7f")
compression("a name behind both tables", "2.3.3", BLOCK + b"\x7e\x02si")
compression("a name behind both tables, not indexed", "2.3.3", BLOCK + b"\x0f\x30\x02si")
compression("an index behind what the table has", "2.3.3", BLOCK + ADDED + b"\xbf")
decodes("the static table", "2.3.1", STATIC)
decodes("an index into the dynamic table, in the same block and in the next", "2.3.2", BLOCK + ADDED + b"\xbe", BLOCK + b"\xbe")
decodes("a name from the dynamic table", "2.3.2", BLOCK + ADDED + b"\x7e\x02no", BLOCK + b"\xbe\xbf")
decodes("an entry larger than the table empties it", "4.4", BLOCK + b"\x40\x06x-nada" + f.number(0, 7, 5000) + b"a" * 5000)


@case("RFC 7541 section 4.4", "an entry larger than the table empties it, and is none")
def _(dial):
    line = dial()
    line.send(f.headers(1, BLOCK + ADDED + b"\x40\x06x-nada" + f.number(0, 7, 5000) + b"a" * 5000))
    line.answered(1)
    line.send(f.headers(3, BLOCK + b"\xbe"))
    line.connection_error(f.COMPRESSION)


@case("RFC 7541 section 4.4", "an entry whose name is thrown out by itself")
def _(dial):
    line = dial()
    # The table takes 4,096 bytes: each entry of 2,000 and some throws out one, at last the one whose name it takes.
    value = f.number(0, 7, 2000) + b"a" * 2000
    line.send(f.headers(1, BLOCK + b"\x40\x06x-nada" + value))
    for at in range(1, 4):
        line.answered(2 * at - 1)
        line.send(f.headers(2 * at + 1, BLOCK + b"\x7e" + value))
    line.answered(7)


compression("the size is changed behind a field", "4.2", BLOCK + b"\x20")
compression("the size is changed between fields", "4.2", STATIC[:1] + b"\x20" + STATIC[1:])
decodes("the size is changed at the beginning", "4.2", b"\x20" + BLOCK)
decodes("the size is changed twice at the beginning", "4.2", b"\x20\x3f\xe1\x1f" + BLOCK + ADDED, BLOCK + b"\xbe")
compression("the size of nothing empties the table", "4.3", b"\x20" + BLOCK + ADDED + b"\xbe")
compression("a size beyond what is allowed", "6.3", b"\x3f\xe2\x1f" + BLOCK)
compression("a size far beyond what is allowed", "6.3", b"\x3f\xff\xff\xff\xff\x07" + BLOCK)


@case("RFC 7541 section 4.2", "the server acknowledges that the client's table is smaller")
def _(dial):
    line = dial()
    line.send(f.request(1))
    line.answered(1)
    line.send(f.settings([(f.TABLE_SIZE, 0)]))
    line.alive()
    line.decoder.max_allowed_table_size = 0
    line.send(f.request(3))
    line.answered(3)
    require(line.encoded[0] & 0xE0 == 0x20, "the block does not begin with a size:", line.encoded[:4])
    line.send(f.request(5))
    line.answered(5)


@case("RFC 7541 section 4.2", "a table that shrinks and grows between two answers")
def _(dial):
    line = dial()
    line.send(f.settings([(f.TABLE_SIZE, 0), (f.TABLE_SIZE, 4096)]), f.request(1), f.request(3))
    line.answered(1)
    line.answered(3)


compression("a number without end", "5.1", BLOCK + b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
compression("a number beyond 32 bits", "5.1", BLOCK + b"\xff\xff\xff\xff\xff\xff\x0f")
compression("a number that is cut off", "5.1", BLOCK + b"\xff\xff")
decodes("a number with zeros behind it", "5.1", BLOCK + b"\x00\x7f\x81\x00" + b"a" * 128 + b"\x02si")
compression("a string longer than the block", "5.2", BLOCK + b"\x00\x06x-nada\x7f\x80\x01a")
compression("a name without its value", "5.2", BLOCK + b"\x00\x06x-nada")
compression("padding of eight bits", "5.2", BLOCK + b"\x00\x06x-nada\x82\x1f\xff")
compression("padding of zeros", "5.2", BLOCK + b"\x00\x06x-nada\x81\x18")
compression("the end of a string inside it", "5.2", BLOCK + b"\x00\x06x-nada\x84\xff\xff\xff\xff")
compression("the end of a string behind a letter", "5.2", BLOCK + b"\x00\x06x-nada\x85\x1f\xff\xff\xff\xff")
decodes("strings in Huffman code", "5.2", hpack.Encoder().encode(f.asked(), huffman=True))
decodes("an empty string in Huffman code", "5.2", BLOCK + b"\x00\x06x-nada\x80")
compression("index 0", "6.1", BLOCK + b"\x80")
decodes("fields that are never indexed", "6.2.3", BLOCK + b"\x10\x06x-nada\x02si" + b"\x1f\x0e\x02si")


@case("RFC 7541 section 6.2", "a client that indexes everything")
def _(dial):
    line = dial()
    encoder = hpack.Encoder()
    for at in range(300):
        fields = f.asked("/", "GET", ("x-uno", str(at % 7)), ("x-dos", "a" * (at % 90)), ("cookie", f"a={at}"))
        line.send(f.headers(2 * at + 1, encoder.encode(fields)))
        if at % 50 == 49:
            line.answered(2 * at + 1)
    line.answered(599)


@case("RFC 7541 section 6.2", "a client that changes the size of its table")
def _(dial):
    line = dial()
    encoder = hpack.Encoder()
    for at, size in enumerate((4096, 0, 100, 4096, 33, 2048)):
        encoder.header_table_size = size
        line.send(f.headers(2 * at + 1, encoder.encode(f.asked("/", "GET", ("x-uno", "a" * 40), ("x-dos", str(size))))))
        line.answered(2 * at + 1)
