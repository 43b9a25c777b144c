"""
Linux's TCP behind a TUN device, under control: reads one command a line (JSON), answers each with a line.

    stdin/stdout <-> this program --- sockets --- Linux 10.90.0.2 --- TUN --- raw packets of the script 10.90.0.1

Must run in a network namespace of its own; started by linux-peer.ts. Needs /dev/net/tun and iproute2.
"""

import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
STATES = {
    '01': 'ESTABLISHED', '02': 'SYN-SENT', '03': 'SYN-RECEIVED', '04': 'FIN-WAIT-1', '05': 'FIN-WAIT-2', '06': 'TIME-WAIT',
    '07': 'CLOSED', '08': 'CLOSE-WAIT', '09': 'LAST-ACK', '0A': 'LISTEN', '0B': 'CLOSING', '0C': 'SYN-RECEIVED',
}
# One connection at a time, all its oddities shown: no limits on answers, nothing remembered from one to the next.
SETTINGS = {
    'net/ipv4/tcp_invalid_ratelimit': '0', 'net/ipv4/tcp_no_metrics_save': '1', 'net/ipv4/tcp_early_retrans': '0',
    'net/ipv4/tcp_challenge_ack_limit': '2147483647', 'net/ipv4/icmp_ratelimit': '0', 'net/ipv4/tcp_ecn': '0',
    'net/ipv6/conf/all/disable_ipv6': '1',
}


def name(number):
    return errno.errorcode.get(number, str(number)) if number else ''


class Peer:
    def __init__(self):
        self.tun = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, TUNSETIFF, struct.pack('16sH22x', b'conform0', IFF_TUN | IFF_NO_PI))
        for path, value in SETTINGS.items():
            try:
                with open('/proc/sys/' + path, 'w') as file:
                    file.write(value)
            except OSError:
                pass
        subprocess.run(['ip', 'address', 'add', '10.90.0.2/24', 'dev', 'conform0'], check=True)
        subprocess.run(['ip', 'link', 'set', 'conform0', 'mtu', '1500', 'up'], check=True)
        self.listener = None
        self.connection = None

    def listen(self, port):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('10.90.0.2', port))
        self.listener.listen(16)
        self.listener.setblocking(False)

    def connect(self, port, rcvbuf):
        self.connection = socket.socket()
        self.connection.setblocking(False)
        if rcvbuf:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.connection.connect_ex(('10.90.0.1', port))
        return self.connection.getsockname()[1]

    def accept(self):
        try:
            self.connection, _ = self.listener.accept()
        except BlockingIOError:
            return False
        except OSError:
            return False
        self.connection.setblocking(False)
        return True

    def send(self, data):
        return self.connection.send(bytes.fromhex(data))

    def shutdown(self):
        self.connection.shutdown(socket.SHUT_WR)

    def write(self, data):
        os.write(self.tun, bytes.fromhex(data))

    def collect(self, marker, wait):
        """Packets that came out until the echo `marker` is answered, and for `wait` seconds more."""
        packets = []
        answered = False
        deadline = time.monotonic() + 2
        os.write(self.tun, bytes.fromhex(marker))
        want = bytes.fromhex(marker)[24:28]
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if not select.select([self.tun], [], [], left)[0]:
                continue
            packet = os.read(self.tun, 65536)
            if not answered and packet[0] >> 4 == 4 and packet[9] == 1 and packet[20] == 0 and packet[24:28] == want:
                answered = True
                deadline = time.monotonic() + wait
                if wait == 0:
                    break
            elif packet[0] >> 4 == 4 and packet[9] == 6:
                packets.append(packet.hex())
        return {'packets': packets, 'answered': answered}

    def read(self):
        count = 0
        eof = False
        if self.connection is not None:
            try:
                while True:
                    data = self.connection.recv(65536)
                    if not data:
                        eof = True
                        break
                    count += len(data)
            except OSError:
                pass
        return {'bytes': count, 'eof': eof}

    def error(self):
        return '' if self.connection is None else name(self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def state(self, local, remote):
        listening = 'CLOSED'
        with open('/proc/net/tcp') as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if int(fields[1].split(':')[1], 16) != local:
                    continue
                if fields[3] == '0A':
                    listening = 'LISTEN'
                elif int(fields[2].split(':')[1], 16) == remote:
                    return STATES[fields[3]]
        return listening

    def report(self, local, remote):
        # The error is asked for first: reading takes it.
        return {'error': self.error(), 'state': self.state(local, remote), **self.read()}

    def reset(self):
        for one in (self.connection, self.listener):
            if one is not None:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                one.close()
        self.connection = self.listener = None

    def flush(self):
        subprocess.run(['ip', 'route', 'flush', 'cache'], check=True)


peer = Peer()
print(json.dumps({'ok': os.uname().release}), flush=True)
for line in sys.stdin:
    command, *arguments = json.loads(line)
    try:
        print(json.dumps({'ok': getattr(peer, command)(*arguments)}), flush=True)
    except OSError as failure:
        print(json.dumps({'failed': f'{command}: {failure}'}), flush=True)
