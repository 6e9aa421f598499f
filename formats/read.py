#!/usr/bin/env python3
"""read.py FILE: reads streams and shards by the text of sky-shard.md alone, with the standard library and the zstd
program. Prints the number of records and their sum; says what is wrong and ends with status 3 otherwise."""
import hashlib, json, math, re, struct, subprocess, sys

SIZE = dict(BOOL=1, U8=1, I8=1, U16=2, I16=2, U32=4, I32=4, U64=8, I64=8, F16=2, BF16=2, F32=4, F64=8)
TABLE = range(256)
for _ in range(8):
    TABLE = [c >> 1 ^ (0x82F63B78 if c & 1 else 0) for c in TABLE]
def crc32c(p):
    c = 0xFFFFFFFF
    for b in p:
        c = c >> 8 ^ TABLE[(c ^ b) & 255]
    return c ^ 0xFFFFFFFF
def need(ok, *why):
    if not ok:
        raise ValueError(*why)
hash64 = lambda p: int.from_bytes(hashlib.sha256(p).digest()[:8], "little")

def shard(p, at):
    """The shard at p[at:]: its plain bytes and where it ends (section 5)."""
    start, tag, count, packed, size, ended, indexed = at, None, 0, [], 0, 0, 0
    while True:
        need(at + 8 <= len(p), "shard is cut at byte", at)
        magic, rest = struct.unpack_from("<II", p, at)
        if magic != 0x184D2A53 and magic >> 4 == 0x184D2A5 and not ended:
            at += 8 + rest                                # another program's skippable frame
            continue
        end, block = at + 8 + rest, p[at:at + 8 + rest]
        need(magic == 0x184D2A53 and rest >= 32 and end <= len(p) and block[8:16] == b"\x93SKY\r\n\x1a\xd7", "no block at byte", at)
        kind, version, flags, crc, t, number = struct.unpack_from("<cBHIQQ", block, 16)
        need(crc32c(block[:20] + bytes(4) + block[24:]) == crc and version == 1 and not flags & ~1
             and (t == tag or kind == b"S" and tag is None), "block at byte", at)
        if kind in b"SRE":                                # the lead of a record
            body, frames, nid, zero = struct.unpack_from("<QHHI", block, 40)
            need(len(block) == 56 + 20 * frames + nid and not zero and number == count and not ended, "lead at byte", at)
            for i in range(frames):
                c, n, crc = struct.unpack_from("<QQI", block, 56 + 20 * i)
                need(n <= 1 << 34 and end + c <= len(p) and crc32c(p[end:end + c]) == crc, "record", number, "frame", i, "byte", end)
                packed, size, end = packed + [p[end:end + c]], size + n, end + c
            start, tag = (at, t) if kind == b"S" else (start, tag)
            count, ended = count + (kind == b"R"), end if kind == b"E" else 0
        if kind == b"T":
            need((indexed, number, *struct.unpack_from("<3Q", block, 40)) == (count, count, ended - start, at - ended, end - start), "trailer")
            r = subprocess.run(["zstd", "-dcq"], input=b"".join(packed), capture_output=True)
            need(r.returncode == 0 and len(r.stdout) == size, "zstd", r.stderr)
            return r.stdout, end
        need(kind in b"SREI" or flags & 1, "unknown required block at byte", at)
        indexed += struct.unpack_from("<Q", block, 40)[0] if kind == b"I" else 0
        at = end

def line(p, at):
    """The record line at p[at:]: kind, value, its bytes, checksum, end (section 3)."""
    end = p.find(b"\n", at, at + (1 << 24)) + 1
    m = re.fullmatch(rb'\{"sky":"([0-9a-f]{8})","([a-z]+)":(\{.*\})\} *\n', p[at:end], re.S)
    need(m and (end - at) % 64 == 0 and int(m[1], 16) == crc32c(p[at + 16:end]), "record line at byte", at)
    unique = lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else need(0, "key twice at byte", at)
    return m[2], json.loads(m[3], object_pairs_hook=unique), m[3], int(m[1], 16), end
def sample(s, p, at):
    """Check sample s and its payloads at p[at:]; where they end (section 4)."""
    need(s.keys() == {"id", "meta", "fields"} and len(s["id"].encode()) <= 255 and re.fullmatch(r"[^\0-\x1f\x7f]+", s["id"]), "sample", s)
    need(len({f["name"] for f in s["fields"]}) == len(s["fields"]) <= 256, "field twice, or too many")
    for f in s["fields"]:
        n = SIZE[f["dtype"]] * math.prod(f.get("shape", []))
        need(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", f["name"]) and isinstance(f["meta"], dict)
             and not (f.get("absent") and f.keys() & {"shape", "bytes", "ref"}) and ("absent" in f or "shape" in f), "field", f)
        if not f.get("absent") and "ref" not in f:
            need(n == f["bytes"] <= 1 << 34 and at + n <= len(p), "size of field", f)
            need("%08x" % crc32c(p[at:at + n]) == f["crc32c"] and not any(p[at + n:at + n + -n % 64]), "field", f["name"], "byte", at)
            at += n + -n % 64
    return at
def stream(p, at):
    """The plain stream at p[at:]: records, sum, end (section 3)."""
    (kind, s, _, _, at), count, total, order = line(p, at), 0, 0, b""
    need(kind == b"schema" and s["version"] == 1 and not s.get("requires"), "a stream starts with a schema of version 1", s)
    while kind != b"end":
        kind, s, raw, crc, at = line(p, at)
        if kind == b"sample":
            at = sample(s, p, at)
            count, total, order = count + 1, (total + hash64(raw)) % 2**64, order + struct.pack("<I", crc)
        need(kind in (b"sample", b"end") or s.get("optional") is True, "unknown record", kind)
        at += s.get("bytes", 0)
    need((s["count"], s["sum"], s["order"]) == (count, "%016x" % total, "%08x" % crc32c(order)), "END disagrees", s)
    return count, total, at

def read(p):
    at = count = total = 0
    while at < len(p) or need(p, "empty input"):
        plain, end = shard(p, at) if p[at:at + 1] != b"{" else (p, None)
        n, t, used = stream(plain, 0 if end else at)
        need(end is None or used == len(plain), "more after END")
        at, count, total = end or used, count + n, (total + t) % 2**64
    return count, total

if __name__ == "__main__":
    try:
        print("records\t%d\nsum\t%016x" % read(open(sys.argv[1], "rb").read()))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as e:
        sys.exit(print("read.py:", *e.args, file=sys.stderr) or 3)
