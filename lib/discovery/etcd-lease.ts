import type { EtcdConnection } from './etcd-link.ts';

/** A granted lease: the right of its keys to exist. */
export interface EtcdLease {
  readonly id: string;
  /** Seconds; the server may have raised what was asked for. */
  readonly ttlSeconds: number;
}

interface CallOptions {
  readonly deadline: number;
}

export async function grantLease(connection: EtcdConnection, ttlSeconds: number, o: CallOptions): Promise<EtcdLease> {
  const answer = await connection.etcd.leaseClient.leaseGrant({ TTL: Math.max(1, Math.ceil(ttlSeconds)) }, o);
  return { id: answer.ID, ttlSeconds: Number(answer.TTL) };
}

/** Renews a lease; false when the server no longer has it. One exchange with a deadline, no stream that could fall silent. */
export async function renewLease(connection: EtcdConnection, lease: EtcdLease, o: CallOptions): Promise<boolean> {
  const stream = await connection.etcd.leaseClient.leaseKeepAlive(o);
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  stream
    .on('data', (answer) => resolve(Number(answer.TTL) > 0))
    .on('error', reject)
    .on('end', () => reject(new Error('etcd ended the lease stream')));
  stream.write({ ID: lease.id });
  try {
    return await promise;
  } finally {
    stream.end();
  }
}

/** Gives a lease back, and with it all its keys. */
export async function revokeLease(connection: EtcdConnection, lease: EtcdLease, o: CallOptions): Promise<void> {
  await connection.etcd.leaseClient.leaseRevoke({ ID: lease.id }, o);
}
