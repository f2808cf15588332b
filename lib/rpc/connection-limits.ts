import type { Socket } from 'node:net';
import type { Registry } from 'prom-client';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

export interface ConnectionLimitOptions {
  /** Connections at once; 0: any number. */
  readonly maxConnections: number;
  /** Connections from one address at once; 0: any number. */
  readonly maxPerAddress: number;
  readonly metrics: Registry;
}

/** Refuses connections beyond limits before a byte is read of them. */
export class ConnectionLimits {
  readonly #options: ConnectionLimitOptions;
  readonly #byAddress = new Map<string, number>();
  #open = 0;

  constructor(options: ConnectionLimitOptions) {
    this.#options = options;
  }

  /** Whether the connection may stay; one that may not is closed. */
  admit(socket: Socket): boolean {
    const { maxConnections, maxPerAddress, metrics } = this.#options;
    const address = groupOf(socket.remoteAddress ?? '');
    const ofAddress = this.#byAddress.get(address) ?? 0;
    const isFull = maxConnections > 0 && this.#open >= maxConnections;
    if (isFull || (maxPerAddress > 0 && ofAddress >= maxPerAddress)) {
      const help = 'Connections closed at once, by limit: all or address.';
      counterOf(metrics, 'stator_rpc_connections_refused_total', help, ['limit']).inc({
        limit: isFull ? 'all' : 'address',
      });
      socket.destroy();
      return false;
    }
    this.#open += 1;
    this.#byAddress.set(address, ofAddress + 1);
    const connections = gaugeOf(metrics, 'stator_rpc_connections', 'Connections that are open.');
    connections.inc();
    socket.once('close', () => {
      connections.dec();
      this.#open -= 1;
      const left = (this.#byAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#byAddress.delete(address);
      else this.#byAddress.set(address, left);
    });
    return true;
  }
}

/** Who has one IPv6 address has a /64 of them. */
function groupOf(address: string): string {
  if (!address.includes(':') || address.startsWith('::ffff:')) return address.replace('::ffff:', '');
  const [head = ''] = address.split('::', 1);
  return address.includes('::') && head.split(':').length < 4 ? address : address.split(':').slice(0, 4).join(':');
}
