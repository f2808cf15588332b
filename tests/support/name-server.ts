import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

export interface NameServer {
  /** ADDRESS:PORT. */
  readonly address: string;
  /** Names that were asked for, as often as they were asked for. */
  readonly asked: readonly string[];
  stop(): void;
}

const typeA = 1;

/** A name server (RFC 1035) on loopback that answers questions for IPv4 addresses with what the function gives. */
export async function startNameServer(answer: (name: string, time: number) => readonly string[]): Promise<NameServer> {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (query, from) => {
    const { name, end } = nameAt(query, 12);
    const isA = query.readUInt16BE(end) === typeA;
    if (isA) asked.push(name);
    const addresses = isA ? answer(name, asked.filter((one) => one === name).length) : [];
    const head = Buffer.from(query.subarray(0, 12));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(addresses.length, 6);
    head.writeUInt32BE(0, 8);
    const records = addresses.map((address) =>
      // Pointer to the name, type A, class IN, no time to live, four bytes.
      Buffer.of(0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)),
    );
    socket.send(Buffer.concat([head, query.subarray(12, end + 4), ...records]), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address() as AddressInfo;
  return { address: `127.0.0.1:${port}`, asked, stop: () => socket.close() };
}

function nameAt(packet: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  for (let length = packet[at] ?? 0; length > 0; length = packet[at] ?? 0) {
    labels.push(packet.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.'), end: at + 1 };
}
