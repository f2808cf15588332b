import { environment } from '#lib/config/environment.ts';
import { isLoopback } from '#lib/rpc/address.ts';

/**
 * Keeps the sockets of UCX, which ask for no token, on loopback where the process listens there alone: left to itself it
 * takes every device of the machine. For the whole process, before its first agent; UCX_NET_DEVICES of the operator's wins.
 */
export function keepToHost(host: string): void {
  if (isLoopback(host)) environment.setDefault('UCX_NET_DEVICES', 'lo');
}
