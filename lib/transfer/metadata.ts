import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { StatorError } from '#lib/errors/errors.ts';
import type { TransferBackend } from './transfer.ts';

const MAGIC = Buffer.from('STX1');
const SEAL_BYTES = 32;
const MAX_BYTES = 1 << 20;
const MAX_NAME = 256;

/** What an agent tells its peers: who it is and, in the back end's own form, how to reach it. */
export interface AgentMetadata {
  readonly backend: TransferBackend;
  readonly agent: string;
  readonly endpoint: Readonly<Record<string, string>>;
}

/** Packs metadata behind a seal: HMAC-SHA-256 with the secret, or without one SHA-256, which shows damage only. */
export function sealMetadata(metadata: AgentMetadata, secret: string | undefined): Uint8Array {
  const body = Buffer.from(JSON.stringify(metadata));
  return Buffer.concat([MAGIC, seal(body, secret), body]);
}

/** Throws `invalid_argument` for anything that `sealMetadata` with the same secret did not make. */
export function openMetadata(
  bytes: Uint8Array,
  expected: { readonly backend: TransferBackend; readonly secret: string | undefined },
): AgentMetadata {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (data.length > MAX_BYTES) throw refused('it is too long');
  if (data.length <= MAGIC.length + SEAL_BYTES || !data.subarray(0, MAGIC.length).equals(MAGIC))
    throw refused('it is cut off or something else');
  const body = data.subarray(MAGIC.length + SEAL_BYTES);
  const found = data.subarray(MAGIC.length, MAGIC.length + SEAL_BYTES);
  if (!timingSafeEqual(found, seal(body, expected.secret))) throw refused('its seal does not fit');
  const metadata = parse(body);
  if (metadata.backend !== expected.backend)
    throw refused(`it is for ${JSON.stringify(metadata.backend)}, not ${expected.backend}`);
  return metadata;
}

/** A field of the endpoint. Throws `invalid_argument` where it is missing. */
export function endpointField(metadata: AgentMetadata, name: string): string {
  const value = metadata.endpoint[name];
  if (value === undefined) throw refused(`it lacks ${name}`);
  return value;
}

function seal(body: Uint8Array, secret: string | undefined): Buffer {
  return secret === undefined
    ? createHash('sha256').update(body).digest()
    : createHmac('sha256', secret).update(body).digest();
}

function parse(body: Buffer): AgentMetadata {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw refused('it is not JSON');
  }
  if (!isRecord(value) || !isRecord(value['endpoint'])) throw refused('its form is unknown');
  const { backend, agent, endpoint } = value;
  if (backend !== 'nixl' && backend !== 'shm' && backend !== 'tcp') throw refused('its back end is unknown');
  if (typeof agent !== 'string' || agent === '' || agent.length > MAX_NAME) throw refused('its agent has no name');
  const fields = Object.entries(endpoint);
  if (!fields.every((field): field is [string, string] => typeof field[1] === 'string'))
    throw refused('its endpoint is no text');
  return { backend, agent, endpoint: Object.fromEntries(fields) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refused(why: string): StatorError {
  return StatorError.invalid('agent_metadata', `This is no agent's metadata: ${why}.`);
}
