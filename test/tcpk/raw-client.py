"""An application that speaks to a stack with its bare hands: control socket, shared memory, rings.

What lib/tcpu does politely, this does at will. See lib/channel/{control,window,records,calls}.ts for the
numbers. Used by the tests of TCPK: `python3 raw-client.py SOCKET COMMAND …`.
"""

import ctypes
import json
import mmap
import os
import random
import signal
import socket
import struct
import sys

RX_TAIL, RX_HEAD, TX_TAIL, TX_HEAD, APP_SLEEPS, STACK_SLEEPS = (16 * i for i in range(6))
FROM_APP_SEGMENT, FROM_APP_SENDTO, FROM_APP_OPEN, FROM_APP_CLOSE = 1, 2, 3, 4
CALL_BIND, CALL_LISTEN, CALL_UNBIND, CALL_CONNECT = 1, 2, 3, 4
MAPPED = 0xFFFF
SIZES = {'rxRing': 256 << 10, 'txRing': 128 << 10, 'call': 4096, 'memory': 1 << 20}


def ipv4(text):
    """The four words of an address."""
    return [0, 0, MAPPED, struct.unpack('!i', socket.inet_aton(text))[0]]


class Application:
    def __init__(self, path, name='raw', sizes=SIZES):
        self.sizes = sizes
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.connect(path)
        self.control.send(json.dumps({'tcpu': 1, 'name': name, 'sizes': sizes}).encode())
        text, self.fds, _, _ = socket.recv_fds(self.control, 65536, 8)
        self.info = json.loads(text)
        if 'error' in self.info:
            raise OSError(self.info['error'])
        self.rx = 4096
        self.tx = self.rx + sizes['rxRing']
        self.memory = self.tx + sizes['txRing'] + sizes['call']
        self.length = self.memory + sizes['memory']
        self.map = mmap.mmap(self.fds[0], self.length)
        self.words = memoryview(self.map).cast('i')
        self.tail = 0

    def close(self):
        self.control.close()
        for fd in self.fds:
            os.close(fd)
        self.words.release()
        self.map.close()

    def word(self, index, value=None):
        # Not with pack_into, which writes zeros first.
        if value is None:
            return self.words[index]
        self.words[index] = value

    def call(self, *words):
        """One call; returns the words of the answer."""
        self.control.send(struct.pack('<%di' % len(words), *words))
        return struct.unpack('<64i', self.control.recv(65536))

    def bind(self, address, port, bits=0):
        answer = self.call(CALL_BIND, *address, port, bits)
        return answer[0], answer[1]

    def connect(self, handle, remote, port):
        return self.call(CALL_CONNECT, handle, -1, 0, 0, MAPPED if remote[2] == MAPPED else 0, 0, *remote, port)

    def record(self, kind, payload, length=None):
        """Puts a record into the transmit ring, honest about its length unless told otherwise."""
        true = (8 + len(payload) + 7) & ~7
        size = self.sizes['txRing']
        at = self.tail & (size - 1)
        if at + true > size:
            struct.pack_into('<ii', self.map, self.tx + at, size - at, 0)
            self.tail += size - at
            at = 0
        struct.pack_into('<ii', self.map, self.tx + at, true if length is None else length, kind)
        self.map[self.tx + at + 8:self.tx + at + 8 + len(payload)] = payload
        self.tail = (self.tail + true) & 0xFFFFFFFF

    def room(self):
        return self.sizes['txRing'] - ((self.tail - (self.word(TX_HEAD) & 0xFFFFFFFF)) & 0xFFFFFFFF)

    def publish(self):
        self.word(TX_TAIL, struct.unpack('<i', struct.pack('<I', self.tail & 0xFFFFFFFF))[0])
        self.ring()

    def ring(self):
        os.write(self.fds[2], struct.pack('<Q', 1))

    def segment(self, handle, header, pieces=(), gso=(0, 0), header_length=None, count=None):
        words = [handle, 64 << 8, gso[0], gso[1], len(header) if header_length is None else header_length,
                 len(pieces) if count is None else count]
        payload = struct.pack('<6i', *words) + header.ljust(60, b'\0')
        for offset, length in pieces:
            payload += struct.pack('<ii', offset, length)
        self.record(FROM_APP_SEGMENT, payload)

    def send_to(self, local, remote, header):
        payload = struct.pack('<6i', -1, 64 << 8, 0, 0, len(header), 0) + header.ljust(60, b'\0')
        self.record(FROM_APP_SENDTO, payload + struct.pack('<8i', *local, *remote))


def tcp_header(source, destination, seq=1000, ack=0, flags=2, window=65535):
    return struct.pack('!HHIIBBHHH', source, destination, seq, ack, 5 << 4, flags, window, 0, 0)


def kill_cycles(path, count, remote, first_port):
    """Applications that bind, listen, open a connection, and are killed in the middle of it."""
    for i in range(count):
        child = os.fork()
        if child == 0:
            app = Application(path, 'victim')
            number, port = app.bind(ipv4('0.0.0.0'), first_port + i % 100)
            if number < 0:
                print('bind', number, file=sys.stderr)
                os._exit(3)
            app.call(CALL_LISTEN, number, 0)
            answer = app.connect(0, ipv4(remote), 9)
            if answer[0] < 0:
                print('connect', answer[0], file=sys.stderr)
                os._exit(4)
            app.segment(0, tcp_header(answer[0], 9))
            app.publish()
            os.kill(os.getpid(), signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print('cycle %d ended with %d' % (i, status), file=sys.stderr)
            sys.exit(1)


class Attack:
    """Goes on until it is killed; prints a line when it begins. Throws nothing: being thrown out is part of it."""

    def __init__(self, path, victim_address, victim_port, remote):
        self.path = path
        self.victim = (ipv4(victim_address), victim_port)
        self.remote = ipv4(remote)
        self.random = random.Random(1)

    def bound(self):
        app = Application(self.path, 'attacker')
        number, port = app.bind(ipv4('0.0.0.0'), 0)
        return app, number, port

    def refill(self, app, fill):
        """Writes records while there is room, and rings."""
        while True:
            while app.room() > 4096:
                fill()
            app.publish()
            # Whoever is gone hears of it here.
            app.control.setblocking(False)
            try:
                if app.control.recv(4096) == b'':
                    return
            except BlockingIOError:
                pass
            app.control.setblocking(True)

    def spoof(self):
        """Segments from the victim's port and address, and from addresses of nobody."""
        app, _, port = self.bound()
        header = tcp_header(self.victim[1], 80, flags=4)
        own = tcp_header(port, 80, flags=4)

        def fill():
            app.send_to(self.victim[0], self.remote, header)
            app.send_to(ipv4('192.0.2.1'), self.remote, own)
            app.segment(77, own)
        self.refill(app, fill)

    def garbage(self):
        app, _, _ = self.bound()

        def fill():
            app.record(self.random.choice([-5, -1, 1, 2, 3, 4, 5, 9]), self.random.randbytes(self.random.randrange(8, 200)))
        self.refill(app, fill)

    def indices(self):
        """Lies about positions and lengths; comes back each time it is thrown out."""
        while True:
            app, _, _ = self.bound()
            app.record(1, b'x' * 64, length=self.random.choice([0, 4, -8, 7, 1 << 20, 0x7ffffff8]))
            app.word(TX_TAIL, self.random.choice([64, -64, 1 << 30, 0x7fffffff, -1 << 31]))
            app.word(RX_HEAD, self.random.randrange(-1 << 31, 1 << 31))
            app.ring()
            try:
                app.control.recv(4096)
            except OSError:
                pass
            app.close()

    def memory(self):
        """Data outside of its memory, impossible lengths."""
        app, _, _ = self.bound()
        port = app.connect(0, self.remote, 9)[0]
        header = tcp_header(port, 9, flags=16)

        def fill():
            app.segment(0, header, [(self.random.choice([-1, 0, 4096, app.length - 1, 1 << 30]), self.random.choice([-1, 1, 1 << 16, 0x7fffffff]))])
            app.segment(0, header, [(app.memory, 65000)])
            app.segment(0, header, header_length=self.random.choice([0, 16, 24, 64, -4]))
            app.segment(0, header, count=self.random.choice([-1, 12, 1 << 20]))
            app.segment(0, header, [(app.memory, 3000)], gso=(self.random.choice([2, 3, 5, 0x81]), 1))
        self.refill(app, fill)

    def flood(self):
        """As many segments of its own as go out, all of them proper."""
        app, _, _ = self.bound()
        port = app.connect(0, self.remote, 9)[0]
        header = tcp_header(port, 9, flags=16)
        self.refill(app, lambda: app.segment(0, header))

    def calls(self):
        """As many calls as it can make, most of them nonsense."""
        app, _, _ = self.bound()
        while True:
            app.call(*[self.random.choice([self.random.randrange(0, 60), self.random.randrange(-1 << 31, 1 << 31)]) for _ in range(self.random.randrange(1, 20))])

    def feed(self):
        """Calls without end, while another process fills the ring that a call first has to be emptied for."""
        app, _, port = self.bound()
        local = app.connect(0, self.remote, 9)[0]
        header = tcp_header(local, 9, flags=16)
        if os.fork() == 0:
            prctl = ctypes.CDLL(None).prctl
            prctl(1, signal.SIGKILL)
            while True:
                while app.room() > 4096:
                    app.segment(0, header)
                app.publish()
        while True:
            app.call(CALL_UNBIND, 99)

    def deaf(self):
        """Never takes what comes: its ring is full of what it has asked for."""
        app, number, port = self.bound()
        app.call(CALL_LISTEN, number, 0)
        print('port', port, flush=True)
        signal.pause()


if __name__ == '__main__':
    path, command, *rest = sys.argv[1:]
    if command == 'kill-cycles':
        kill_cycles(path, int(rest[0]), rest[1], int(rest[2]))
    elif command == 'attack':
        attack = Attack(path, rest[1], int(rest[2]), rest[3])
        print('begins', flush=True)
        getattr(attack, rest[0])()
    else:
        sys.exit('unknown command ' + command)
