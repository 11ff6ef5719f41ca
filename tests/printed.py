"""How far down each sheet of a PDF has anything on it: enough of PDF to read what Chromium writes."""

from __future__ import annotations

import re
import zlib

Matrix = tuple[float, float, float, float, float, float]
UNIT: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
TOKEN = re.compile(rb"\((?:\\.|[^\\)])*\)|<[0-9A-Fa-f\s]*>|/[^\s/<>\[\]()]+|[-+]?\d*\.?\d+|[A-Za-z'\"*]+")
PAINTS, PATH = (
    {b"f", b"F", b"f*", b"S", b"s", b"B", b"B*", b"b", b"b*"},
    {b"m": 1, b"l": 1, b"c": 3, b"v": 2, b"y": 2},
)
WHITE = {b"g": [1.0], b"rg": [1.0, 1.0, 1.0]}


def sheets(pdf: bytes) -> list[float]:
    """Of each sheet, the share of its height from its top down to its lowest mark (0: nothing is on it)."""
    objects = {int(n): body for n, body in re.findall(rb"(\d+) 0 obj\b(.*?)endobj", pdf, re.S)}
    root = next(body for body in objects.values() if b"/Type /Catalog" in body)
    found = []
    for body in _pages(objects, int(_one(rb"/Pages (\d+) 0 R", root)), b""):
        height = float(_one(rb"/MediaBox\s*\[\S+ \S+ \S+ (\S+?)\s*\]", body))
        resources = body
        if indirect := re.search(rb"/Resources (\d+) 0 R", body):
            resources = objects[int(indirect[1])]
        contents = _one(rb"/Contents\s*(\[[^\]]*\]|\d+ 0 R)", body)
        text = b"\n".join(_stream(objects[int(n)]) for n in re.findall(rb"(\d+) 0 R", contents))
        lowest = min([height, *_marks(text, UNIT, _named(resources), objects, (-1e9, 1e9))])
        found.append(1 - max(0.0, lowest) / height)
    return found


def _pages(objects: dict[int, bytes], number: int, inherited: bytes):
    body = objects[number]
    if b"/Kids" not in body:
        yield body + inherited
        return
    for kid in re.findall(rb"(\d+) 0 R", _one(rb"/Kids\s*\[(.*?)\]", body)):
        yield from _pages(objects, int(kid), body.replace(b"/Kids", b"/Of") + inherited)


def _one(pattern: bytes, body: bytes) -> bytes:
    return re.search(pattern, body, re.S)[1]


def _stream(body: bytes) -> bytes:
    head, data = body.split(b"stream", 1)
    length = re.search(rb"/Length (\d+)(?! 0 R)", head)
    data = data.lstrip(b"\r\n") if data[:1] in b"\r\n" else data
    data = data[: int(length[1])] if length else data.rsplit(b"endstream", 1)[0]
    return zlib.decompressobj().decompress(data) if b"/FlateDecode" in head else data


def _named(resources: bytes) -> dict[bytes, int]:
    named = re.search(rb"/XObject\s*<<(.*?)>>", resources, re.S)
    return {name: int(n) for name, n in re.findall(rb"(/\S+) (\d+) 0 R", named[1])} if named else {}


def _times(one: list[float], of: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    A, B, C, D, E, F = of
    return (a * A + b * C, a * B + b * D, c * A + d * C, c * B + d * D, e * A + f * C + E, e * B + f * D + F)


def _marks(text: bytes, at: Matrix, named, objects, clip: tuple[float, float]) -> list[float]:
    """The heights of what a content stream draws, within what clips it."""
    found: list[float] = []
    kept, path, numbers, names = [], [], [], []
    clips, white, line = False, False, UNIT
    height = lambda x, y: x * at[1] + y * at[3] + at[5]
    draw = lambda ys: found.extend(min(max(y, clip[0]), clip[1]) for y in ys)
    for token in TOKEN.findall(text):
        if re.fullmatch(rb"[-+]?\d*\.?\d+", token):
            numbers.append(float(token))
            continue
        if token[:1] in b"/(<":
            names.append(token)
            continue
        if token == b"q":
            kept.append((at, clip, white))
        elif token == b"Q" and kept:
            at, clip, white = kept.pop()
        elif token == b"cm":
            at = _times(numbers[-6:], at)
        elif token in PATH:
            points = numbers[-2 * PATH[token] :]
            path += [height(x, y) for x, y in zip(points[::2], points[1::2], strict=True)]
        elif token == b"re":
            x, y, w, h = numbers[-4:]
            path += [height(*corner) for corner in ((x, y), (x + w, y), (x, y + h), (x + w, y + h))]
        elif token in WHITE:
            white = numbers[-len(WHITE[token]) :] == WHITE[token]
        elif token in (b"W", b"W*"):
            clips = True
        elif token == b"n" or token in PAINTS:
            if token in PAINTS and not (white and token[:1] in b"fF"):
                draw(path)
            if clips and path:
                clip = (max(clip[0], min(path)), min(clip[1], max(path)))
            path, clips = [], False
        elif token == b"BT":
            line = UNIT
        elif token == b"Tm":
            line = tuple(numbers[-6:])
        elif token in (b"Td", b"TD"):
            line = _times([1, 0, 0, 1, *numbers[-2:]], line)
        elif token in (b"Tj", b"TJ"):
            draw([height(line[4], line[5])])
        elif token == b"Do" and names[-1] in named:
            body = objects[named[names[-1]]]
            if b"/Subtype /Form" not in body:
                draw([height(x, y) for x in (0, 1) for y in (0, 1)])
            else:
                own = re.search(rb"/Matrix\s*\[(.*?)\]", body)
                inner = _times([float(n) for n in own[1].split()], at) if own else at
                found += _marks(_stream(body), inner, _named(body.split(b"stream", 1)[0]), objects, clip)
        numbers, names = [], []
    return found
