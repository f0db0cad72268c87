#!/usr/bin/env python3
"""Turns a capture and tshark's reading of it (PDML on standard input) into a small text file.

    tshark -r NAME.pcap -Y 'asap or enrp' -T pdml | read_capture.py NAME.pcap > NAME.txt
"""
import struct
import sys
import xml.etree.ElementTree as tree


def frames(path):
    """Bytes of each frame by its number, counted from 1 (classic pcap)."""
    data = open(path, "rb").read()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    found, at = {}, 24
    while at < len(data):
        length = struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        found[len(found) + 1] = data[at + 16 : at + 16 + length]
        at += 16 + length
    return found


def fields(proto, prefix):
    """What tshark shows, in order; subtrees without a name of their own are only walked."""
    for field in proto:
        name = field.get("name", "")
        if name.startswith(prefix) and field.get("hide") != "yes":
            yield name[len(prefix) :], field.get("show")
        yield from fields(field, prefix)


bytes_of = frames(sys.argv[1])
messages = {}
for packet in tree.parse(sys.stdin).getroot():
    number = int(packet.find("proto[@name='frame']/field[@name='frame.number']").get("show"))
    for proto in packet.iter("proto"):
        kind = proto.get("name")
        if kind in ("asap", "enrp"):
            start = int(proto.get("pos"))
            message = bytes_of[number][start : start + int(proto.get("size"))].hex()
            shown = " ".join(f"{name}={value}" for name, value in fields(proto, kind + "."))
            messages.setdefault((kind, message, shown), []).append(number)
for (kind, message, shown), numbers in messages.items():
    print(kind, "in frames", *numbers)
    print(message)
    print(shown)
