"""A small ONC RPC client (RFC 5531) with the NFSv3, MOUNT and portmap calls that tests need.

It looks at a server without fusenfs in between: to wait for it, to check what it exports, and to
play a second client in tests. It is simple rather than fast: one call at a time, one socket.

    root = mnt("127.0.0.1", 20048, "/data")
    with Nfs("127.0.0.1", 2049, uid=1000) as nfs:
        fh, attr = nfs.lookup(root, "hello")
        data, eof = nfs.read(fh, 0, 4096)
"""

import itertools
import os
import socket
import struct
from collections import namedtuple

NFS, MOUNT, PORTMAP = (100003, 3), (100005, 3), (100000, 2)
NLM, STATUS = (100021, 4), (100024, 1)
TCP, UDP = 6, 17
UNSTABLE, DATA_SYNC, FILE_SYNC = range(3)
UNCHECKED, GUARDED, EXCLUSIVE = range(3)
NF3REG, NF3DIR, NF3BLK, NF3CHR, NF3LNK, NF3SOCK, NF3FIFO = range(1, 8)

STATUS_NAMES = {
    1: "PERM", 2: "NOENT", 5: "IO", 6: "NXIO", 13: "ACCES", 17: "EXIST", 18: "XDEV", 19: "NODEV",
    20: "NOTDIR", 21: "ISDIR", 22: "INVAL", 27: "FBIG", 28: "NOSPC", 30: "ROFS", 31: "MLINK",
    63: "NAMETOOLONG", 66: "NOTEMPTY", 69: "DQUOT", 70: "STALE", 71: "REMOTE", 10001: "BADHANDLE",
    10002: "NOT_SYNC", 10003: "BAD_COOKIE", 10004: "NOTSUPP", 10005: "TOOSMALL",
    10006: "SERVERFAULT", 10007: "BADTYPE", 10008: "JUKEBOX"}

Attr = namedtuple("Attr", "type mode nlink uid gid size used rdev fsid fileid atime mtime ctime")
Fsinfo = namedtuple("Fsinfo", "rtmax rtpref rtmult wtmax wtpref wtmult dtpref maxfilesize")
Fsstat = namedtuple("Fsstat", "tbytes fbytes abytes tfiles ffiles afiles")
Entry = namedtuple("Entry", "fileid name cookie")


class RpcError(Exception):
    """The server answered, but not with a result: denied, unavailable, garbage arguments."""


class StatusError(Exception):
    """The procedure ran and returned a status other than OK; .name is e.g. 'NOENT'."""

    def __init__(self, what, status):
        self.status, self.name = status, STATUS_NAMES.get(status, str(status))
        super().__init__(f"{what}: {self.name}")


def u32(value):
    return struct.pack(">I", value & 0xFFFFFFFF)


def u64(value):
    return struct.pack(">Q", value)


def opaque(data):
    """Variable-length opaque or string: length, bytes, padding."""
    data = os.fsencode(data) if isinstance(data, str) else data
    return u32(len(data)) + data + bytes(-len(data) % 4)


class Reader:
    """Takes XDR values off the front of a reply."""

    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, fmt):
        values = struct.unpack_from(">" + fmt, self.data, self.pos)
        self.pos += struct.calcsize(">" + fmt)
        return values if len(values) > 1 else values[0]

    def u32(self):
        return self.take("I")

    def u64(self):
        return self.take("Q")

    def opaque(self):
        size = self.u32()
        data = self.data[self.pos:self.pos + size]
        self.pos += size + -size % 4
        return data

    def string(self):
        return os.fsdecode(self.opaque())

    def optional(self, decode):
        return decode() if self.u32() else None

    def each(self, decode):
        """XDR linked list: a boolean before every element."""
        while self.u32():
            yield decode()

    def attr(self):
        kind, mode, nlink, uid, gid, size, used, major, minor = self.take("IIIIIQQII")
        fsid, fileid, *times = self.take("QQIIIIII")
        stamps = [times[i] * 10**9 + times[i + 1] for i in (0, 2, 4)]
        return Attr(kind, mode, nlink, uid, gid, size, used, (major, minor), fsid, fileid, *stamps)

    def post_op_fh(self):
        return self.optional(self.opaque)

    def post_op_attr(self):
        return self.optional(self.attr)

    def wcc_data(self):
        """Attributes before (size, mtime, ctime) and after; only the latter are returned."""
        self.optional(lambda: self.take("QIIII"))
        return self.post_op_attr()


class Client:
    """Calls to one program of one server over one socket, with AUTH_SYS credentials."""

    _xids = itertools.count(int.from_bytes(os.urandom(4), "big"))

    def __init__(self, host, port, program, uid=0, gid=0, groups=(), timeout=10, udp=False):
        self.program, self.udp = program, udp
        body = u32(0) + opaque("lab") + u32(uid) + u32(gid) + u32(len(groups))
        self.cred = u32(1) + opaque(body + b"".join(map(u32, groups)))
        self.sock = (_udp_socket if udp else socket.create_connection)((host, port), timeout)
        self.sock.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def call(self, proc, args=b""):
        """One call and its reply: a Reader at the start of the procedure's results."""
        xid = next(self._xids) & 0xFFFFFFFF
        header = struct.pack(">6I", xid, 0, 2, *self.program, proc)
        self._send(header + self.cred + u32(0) + u32(0) + args)
        while True:
            reply = Reader(self._receive())
            if reply.u32() == xid:
                return self._accepted(reply)

    def checked(self, what, proc, args=b""):
        """Like call() for procedures whose results begin with a status."""
        reply = self.call(proc, args)
        status = reply.u32()
        if status:
            raise StatusError(what, status)
        return reply

    def null(self):
        self.call(0)

    def _send(self, message):
        if self.udp:
            self.sock.send(message)
        else:
            self.sock.sendall(u32(0x80000000 | len(message)) + message)

    def _receive(self):
        if self.udp:
            return self.sock.recv(65536)
        record, last = b"", False
        while not last:
            mark = struct.unpack(">I", self._exactly(4))[0]
            record, last = record + self._exactly(mark & 0x7FFFFFFF), mark >> 31
        return record

    def _exactly(self, size):
        data = bytearray()
        while len(data) < size:
            chunk = self.sock.recv(size - len(data))
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            data += chunk
        return bytes(data)

    @staticmethod
    def _accepted(reply):
        message_type, reply_state = reply.take("II")
        if message_type != 1 or reply_state != 0:
            raise RpcError(f"call denied ({message_type}, {reply_state})")
        reply.u32()
        reply.opaque()
        state = reply.u32()
        if state:
            names = "SUCCESS PROG_UNAVAIL PROG_MISMATCH PROC_UNAVAIL GARBAGE_ARGS SYSTEM_ERR"
            raise RpcError(names.split()[state] if state < 6 else f"accept state {state}")
        return reply


def _udp_socket(address, timeout):
    family = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0][0]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    sock.connect(address)
    return sock


def ping(host, port, program, timeout=1, udp=False):
    """Whether `program` answers a NULL call now."""
    try:
        with Client(host, port, program, timeout=timeout, udp=udp) as client:
            client.null()
        return True
    except (OSError, RpcError):
        return False


def getport(host, program, proto=TCP, udp=False):
    """The port that the portmapper on port 111 knows for a program; 0 if none."""
    with Client(host, 111, PORTMAP, udp=udp) as client:
        return client.call(3, struct.pack(">4I", *program, proto, 0)).u32()


def mnt(host, port, path, **cred):
    """MOUNT: the file handle of an export's root."""
    with Client(host, port, MOUNT, **cred) as client:
        return client.checked(f"MNT {path}", 1, opaque(path)).opaque()


def exports(host, port, udp=False):
    """MOUNT EXPORT: {path: [client groups]}."""
    with Client(host, port, MOUNT, udp=udp) as client:
        reply = client.call(5)
        return {path: groups for path, groups in reply.each(
            lambda: (reply.string(), list(reply.each(reply.string))))}


def sattr(mode=None, uid=None, gid=None, size=None):
    """sattr3; times are left alone."""
    def value(pack, v):
        return u32(0) if v is None else u32(1) + pack(v)
    return value(u32, mode) + value(u32, uid) + value(u32, gid) + value(u64, size) + u32(0) + u32(0)


class Nfs(Client):
    """NFSv3 procedures. File handles are bytes, times nanoseconds; a bad status raises."""

    def __init__(self, host, port, **cred):
        super().__init__(host, port, NFS, **cred)

    def getattr(self, fh):
        return self.checked("GETATTR", 1, opaque(fh)).attr()

    def setattr(self, fh, **changes):
        return self.checked("SETATTR", 2, opaque(fh) + sattr(**changes) + u32(0)).wcc_data()

    def lookup(self, directory, name):
        """(file handle, attributes) of a name."""
        reply = self.checked(f"LOOKUP {name}", 3, opaque(directory) + opaque(name))
        return reply.opaque(), reply.post_op_attr()

    def walk(self, root, path):
        """LOOKUP of every component of a relative path."""
        for name in path.strip("/").split("/"):
            root, attr = self.lookup(root, name)
        return root, attr

    def access(self, fh, bits=0x3F):
        reply = self.checked("ACCESS", 4, opaque(fh) + u32(bits))
        reply.post_op_attr()
        return reply.u32()

    def read(self, fh, offset, count):
        """(data, eof)"""
        reply = self.checked("READ", 6, opaque(fh) + u64(offset) + u32(count))
        reply.post_op_attr()
        _, eof = reply.take("II")
        return reply.opaque(), bool(eof)

    def write(self, fh, offset, data, stable=FILE_SYNC):
        """(bytes written, committed how, verifier)"""
        args = opaque(fh) + u64(offset) + u32(len(data)) + u32(stable) + opaque(data)
        reply = self.checked("WRITE", 7, args)
        reply.wcc_data()
        return reply.take("IIQ")

    def create(self, directory, name, mode=0o644, how=UNCHECKED):
        """The new file's handle."""
        args = opaque(directory) + opaque(name) + u32(how) + sattr(mode=mode)
        return self.checked(f"CREATE {name}", 8, args).post_op_fh()

    def mkdir(self, directory, name, mode=0o755):
        args = opaque(directory) + opaque(name) + sattr(mode=mode)
        return self.checked(f"MKDIR {name}", 9, args).post_op_fh()

    def remove(self, directory, name):
        self.checked(f"REMOVE {name}", 12, opaque(directory) + opaque(name))

    def rmdir(self, directory, name):
        self.checked(f"RMDIR {name}", 13, opaque(directory) + opaque(name))

    def rename(self, from_dir, from_name, to_dir, to_name):
        args = opaque(from_dir) + opaque(from_name) + opaque(to_dir) + opaque(to_name)
        self.checked(f"RENAME {from_name}", 14, args)

    def readdir(self, directory, count=65536):
        """All entries, over as many calls as it takes."""
        cookie, verifier, eof = 0, 0, False
        while not eof:
            args = opaque(directory) + u64(cookie) + u64(verifier) + u32(count)
            reply = self.checked("READDIR", 16, args)
            reply.post_op_attr()
            verifier = reply.u64()
            for entry in reply.each(lambda: Entry(reply.u64(), reply.string(), reply.u64())):
                cookie = entry.cookie
                yield entry
            eof = reply.u32()

    def fsstat(self, fh):
        reply = self.checked("FSSTAT", 18, opaque(fh))
        reply.post_op_attr()
        return Fsstat(*reply.take("6Q"))

    def fsinfo(self, fh):
        reply = self.checked("FSINFO", 19, opaque(fh))
        reply.post_op_attr()
        return Fsinfo(*reply.take("7IQ"))

    def commit(self, fh, offset=0, count=0):
        """The write verifier."""
        reply = self.checked("COMMIT", 21, opaque(fh) + u64(offset) + u32(count))
        reply.wcc_data()
        return reply.u64()
