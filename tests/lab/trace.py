# SPDX-License-Identifier: GPL-2.0-or-later
"""Which RPC calls went where, by which transport: read off the wire.

    with Trace() as trace:
        ...
    trace.calls(rpc.MOUNT, 1)       # [Call(transport="udp", family=4, address="127.0.0.1", port=20048, ...)]

It sees every packet of an interface, by default the loopback of this network namespace. Of TCP only calls that
begin a segment count, so of many calls on one connection some are missed; who has asked once is seen.
fragments: how many packets were one."""

import contextlib
import os
import socket
import struct
import threading
from collections import namedtuple

from .ganesha import run_in_netns
from .procs import wait_for

ETH_P_ALL, ETH_P_IP = 3, (0x0800, 0x86DD)
PACKET_HOST, PACKET_OUTGOING = 0, 4
CALL, RPC_VERSION = 0, 2
BUFFER, POLL_S = 16 << 20, 0.1
DISCARD = 9

Call = namedtuple("Call", "program version proc transport family address port source size xid")


class Trace:
    def __init__(self, interface="lo", netns=None):
        self.interface, self.netns, self.found, self.fragments = interface, netns, [], 0
        self.kinds = [PACKET_OUTGOING] if interface == "lo" else [PACKET_HOST, PACKET_OUTGOING]
        self.stop, self.mark = threading.Event(), None

    def __enter__(self):
        self.sock = run_in_netns(self.netns, lambda: socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)))
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
        self.sock.bind((self.interface, ETH_P_ALL))
        self.sock.settimeout(POLL_S)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()
        self.sock.close()

    def clear(self):
        self.settle()
        self.found, self.fragments = [], 0

    def settle(self):
        """Returns when all that was sent so far has been read. On a loopback only."""
        mark = os.urandom(16)
        sock = run_in_netns(self.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sock:
            sock.sendto(mark, ("127.0.0.1", DISCARD))
        wait_for(lambda: self.mark == mark, what="the trace to have read all")

    def calls(self, program=None, proc=None):
        return [call for call in list(self.found) if program in (None, (call.program, call.version))
                and proc in (None, call.proc)]

    def transports(self, program, proc=None):
        """{"udp", "tcp6"}: what carried them."""
        return {call.transport + ("6" if call.family == 6 else "") for call in self.calls(program, proc)}

    def addresses(self, program, proc=None):
        return {call.address for call in self.calls(program, proc)}

    def _read(self):
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                packet, (_, protocol, kind, *_) = self.sock.recvfrom(1 << 17)
                if kind in self.kinds and protocol in ETH_P_IP:
                    self._packet(packet)

    def _packet(self, packet):
        if packet[0] >> 4 == 4:
            flags = struct.unpack_from(">H", packet, 6)[0]
            if flags & 0x3FFF:  # more of them, or not the first
                self.fragments += 1
            protocol, rest = packet[9], packet[(packet[0] & 15) * 4:]
            if flags & 0x1FFF:
                return
            target = socket.inet_ntop(socket.AF_INET, packet[16:20])
        else:
            protocol, rest = packet[6], packet[40:]
            if protocol == 44:
                self.fragments += 1
                return
            target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        where = 4 if packet[0] >> 4 == 4 else 6, target
        if protocol == 17:
            self._message("udp", where, rest, rest[8:])
        elif protocol == 6:
            self._message("tcp", where, rest, rest[(rest[12] >> 4) * 4 + 4:])

    def _message(self, transport, where, header, message):
        if len(message) == 16:
            self.mark = message
        if len(message) < 24:
            return
        xid, kind, rpc, program, version, proc = struct.unpack_from(">6I", message)
        if kind == CALL and rpc == RPC_VERSION:
            source, port = struct.unpack_from(">HH", header)
            self.found.append(Call(program, version, proc, transport, *where, port, source, len(message), xid))
