import { StatorError } from '#lib/errors/errors.ts';
import { type AgentIdentity, identityOfHeaders } from '../../agents/identity.ts';
import { type KvIsolation, kvIsolations } from '../schemas/nvext.ts';
import { headerNames, metadataPrefixes } from './header-names.ts';
import { boundedText, HeaderValues, lenientInteger, strictId, strictInteger, strictName } from './header-values.ts';

const pins = ['instanceId', 'prefillInstanceId', 'dataParallelRank', 'prefillDataParallelRank'] as const;

/** What headers say about a request; they win over its body. null: not said. */
export interface HeaderWishes {
  readonly instanceId: bigint | null;
  readonly prefillInstanceId: bigint | null;
  readonly dataParallelRank: number | null;
  readonly prefillDataParallelRank: number | null;
  /** The headers that those four came in, for errors. */
  readonly pinNames: Readonly<Record<(typeof pins)[number], string>>;
  readonly priority: number | null;
  readonly strictPriority: number | null;
  /** Empty: none, like the other texts. */
  readonly tenantId: string;
  readonly session: AgentIdentity | null;
  readonly kvIsolation: KvIsolation | null;
  readonly policyClass: string;
  /** Further facts that the client attaches, by lower-case key. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Milliseconds that the client gives the whole request. */
  readonly timeoutMs: number | null;
  readonly traceparent: string;
  readonly tracestate: string;
}

const largestRank = 0xffff_ffff;
const mostMetadata = { entries: 64, bytes: 64 * 1024 };

/** Stands for "no rank" on Dynamo's wire. */
export const unsetRank = largestRank;

/** A rank; the value that stands for none counts as absent. */
function rankOf(headers: HeaderValues, names: readonly string[]): number | null {
  const rank = strictInteger(headers.first(names), 0, largestRank);
  return rank === unsetRank ? null : rank;
}

/**
 * Reads what headers say of routing, under our names, Dynamo's and Dynamo's older ones. Throws StatorError naming the header:
 * `invalid_argument` for a malformed worker, rank, session, tenant or timeout, `headers_too_large` for too much metadata. A
 * malformed priority counts as absent.
 */
export function headerWishes(rawHeaders: readonly string[]): HeaderWishes {
  const headers = new HeaderValues(rawHeaders);
  const traceparent = headers.text(['traceparent']);
  const { 'policy-class': policyClass = '', ...metadata } = metadataOf(headers);
  return {
    instanceId: strictId(headers.first(headerNames.instanceId)),
    prefillInstanceId: strictId(headers.first(headerNames.prefillInstanceId)),
    dataParallelRank: rankOf(headers, headerNames.dataParallelRank),
    prefillDataParallelRank: rankOf(headers, headerNames.prefillDataParallelRank),
    pinNames: pinNamesOf(headers),
    priority: lenientInteger(headers.first(headerNames.priority), -0x8000_0000, 0x7fff_ffff),
    strictPriority: lenientInteger(headers.first(headerNames.strictPriority), 0, 0xffff_ffff),
    tenantId: boundedText(headers.last(headerNames.tenantId), 512),
    session: identityOfHeaders(headers),
    kvIsolation: strictName(headers.first(headerNames.kvIsolation), kvIsolations),
    policyClass,
    metadata,
    timeoutMs: strictInteger(headers.first(headerNames.timeoutMs), 1, 86_400_000),
    traceparent: /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(traceparent) ? traceparent : '',
    tracestate: headers.text(['tracestate']).slice(0, 512),
  };
}

function pinNamesOf(headers: HeaderValues): HeaderWishes['pinNames'] {
  const name = (pin: (typeof pins)[number]): string => headers.first(headerNames[pin])?.name ?? headerNames[pin][0];
  return {
    instanceId: name('instanceId'),
    prefillInstanceId: name('prefillInstanceId'),
    dataParallelRank: name('dataParallelRank'),
    prefillDataParallelRank: name('prefillDataParallelRank'),
  };
}

/** What stands in `x-stator-meta-<key>` and `x-dynamo-meta-<key>`; credentials are left out. */
function metadataOf(headers: HeaderValues): Record<string, string> {
  const metadata = new Map<string, string>();
  let bytes = 0;
  for (const prefix of metadataPrefixes) {
    for (const { name, value } of headers.startingWith(prefix)) {
      const key = name.slice(prefix.length);
      if (key === '' || key === 'authorization' || /^bearer\s/i.test(value) || metadata.has(key)) continue;
      bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
      metadata.set(key, value);
      if (metadata.size > mostMetadata.entries || bytes > mostMetadata.bytes) throw tooMuch(prefix);
    }
  }
  return Object.fromEntries(metadata);
}

function tooMuch(prefix: string): StatorError {
  const { entries, bytes } = mostMetadata;
  return new StatorError(
    'headers_too_large',
    `The headers \`${prefix}*\` may have at most ${entries} entries and ${bytes / 1024} KiB together.`,
    { field: `${prefix}*`, facts: mostMetadata },
  );
}
