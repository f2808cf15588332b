import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { NamespaceSpec } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Layout } from './layout.ts';

/** Tenant of blocks that all share. */
export const sharedTenant = '0'.repeat(16);

/** Everything beside tokens and layout that decides the bytes, without secrets. Digests in hexadecimal. */
export interface NamespaceFacts {
  readonly model: string;
  readonly modelDigest: string;
  /** Empty: no adapter. */
  readonly adapterDigest: string;
  readonly rank: number;
  readonly ranks: number;
  /** SHA-256 of the tenant's salt; empty: shared by all. */
  readonly saltDigest: string;
  /** Fingerprint of the layout. */
  readonly layout: string;
}

/** A namespace that blocks are in. */
export interface KnownNamespace extends NamespaceFacts {
  /** 128 bits, 32 hexadecimal digits. */
  readonly digest: string;
  /** 16 hexadecimal digits. */
  readonly tenant: string;
  /** First 64 bits of the model's digest. */
  readonly modelCode: bigint;
}

export interface BookOptions {
  /** Files that keep it, one beside each kind of memory that outlives this process. */
  readonly files: readonly string[];
  readonly maxNamespaces: number;
  readonly log: Logger;
}

/**
 * The namespaces that this node has seen, also in earlier lives: without it nobody would know whose the blocks at rest
 * are. What it says is not believed but computed again: a digest follows from the facts.
 */
export class NamespaceBook {
  readonly #options: BookOptions;
  readonly #known = new Map<string, KnownNamespace>();

  constructor(options: BookOptions) {
    this.#options = options;
    for (const file of options.files) for (const facts of readBook(file, options.log)) this.#add(facts);
  }

  get size(): number {
    return this.#known.size;
  }

  find(digest: string): KnownNamespace | undefined {
    return this.#known.get(digest);
  }

  all(): Iterable<KnownNamespace> {
    return this.#known.values();
  }

  /** Throws StatorError `overloaded` when there are too many. */
  open(facts: NamespaceFacts): KnownNamespace {
    const namespace = describeNamespace(facts);
    const known = this.#known.get(namespace.digest);
    if (known !== undefined) return known;
    const { maxNamespaces } = this.#options;
    if (this.#known.size >= maxNamespaces)
      throw new StatorError('overloaded', `There are ${maxNamespaces} namespaces; more need --max-namespaces.`);
    this.#known.set(namespace.digest, namespace);
    this.#save();
    return namespace;
  }

  #add(facts: NamespaceFacts): void {
    const namespace = describeNamespace(facts);
    if (this.#known.size < this.#options.maxNamespaces) this.#known.set(namespace.digest, namespace);
  }

  #save(): void {
    const facts = [...this.#known.values()].map(({ digest, tenant, modelCode, ...rest }) => rest);
    const text = JSON.stringify({ version: 1, namespaces: facts });
    for (const file of this.#options.files) writeBook(file, text, this.#options.log);
  }
}

/** Number of a namespace in the block manager; the same for the same namespace. */
export function namespaceNumber(
  manager: BlockManager,
  { digest, model, tenant }: KnownNamespace,
  layout: Layout,
): number {
  return manager.namespace({ digest, model, tenant, arena: layout.index });
}

/** What a worker asked for, checked. Throws StatorError `invalid_argument` naming the field. */
export function factsOf(spec: NamespaceSpec | undefined, layout: Layout): NamespaceFacts {
  if (spec === undefined) throw StatorError.invalid('spec', 'The namespace is missing.');
  const { model, modelDigest, adapterDigest, rank, ranks, cacheSalt } = spec;
  if (model === '' || model.length > 256)
    throw StatorError.invalid('spec.model', 'The name of the model must have 1 to 256 characters.');
  if (modelDigest.length !== 32) throw StatorError.invalid('spec.model_digest', 'A digest has 32 bytes.');
  if (adapterDigest.length !== 0 && adapterDigest.length !== 32)
    throw StatorError.invalid('spec.adapter_digest', 'A digest has 32 bytes; none means no adapter.');
  if (ranks < 1 || rank >= ranks)
    throw StatorError.invalid('spec.rank', `Rank ${rank} is not below the number of ranks, ${ranks}.`);
  if (cacheSalt.length > 4096) throw StatorError.invalid('spec.cache_salt', 'A salt has at most 4096 characters.');
  return {
    model,
    modelDigest: Buffer.from(modelDigest).toString('hex'),
    adapterDigest: Buffer.from(adapterDigest).toString('hex'),
    rank,
    ranks,
    saltDigest: saltDigest(cacheSalt),
    layout: layout.fingerprint,
  };
}

/** What is kept of a tenant's salt. */
export function saltDigest(salt: string): string {
  return salt === '' ? '' : createHash('sha256').update('stator-kv-salt-1\0').update(salt).digest('hex');
}

export function tenantOf(salt: string): string {
  return salt === '' ? sharedTenant : salt.slice(0, 16);
}

function describeNamespace(facts: NamespaceFacts): KnownNamespace {
  const { model, modelDigest, adapterDigest, rank, ranks, saltDigest: salt, layout } = facts;
  const text = JSON.stringify(['stator-kv-namespace-1', modelDigest, adapterDigest, layout, rank, ranks, salt]);
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 32);
  const modelCode = BigInt(`0x${modelDigest.slice(0, 16)}`);
  return {
    ...{ model, modelDigest, adapterDigest, rank, ranks, saltDigest: salt, layout },
    digest,
    tenant: tenantOf(salt),
    modelCode,
  };
}

/** A place that cannot be written (a full disk) costs what is there after a restart, and nothing now. */
function writeBook(file: string, text: string, log: Logger): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch (error) {
    log.warn({ err: error, file }, 'namespaces cannot be kept for a restart');
  }
}

function readBook(file: string, log: Logger): NamespaceFacts[] {
  try {
    const { version, namespaces } = JSON.parse(readFileSync(file, 'utf8')) as { version: unknown; namespaces: unknown };
    if (version !== 1 || !Array.isArray(namespaces)) throw new Error('it is no book of namespaces');
    return namespaces.filter(isFacts);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.warn({ err: error, file }, 'namespaces cannot be read');
    return [];
  }
}

function isFacts(value: unknown): value is NamespaceFacts {
  if (typeof value !== 'object' || value === null) return false;
  const facts = value as Record<keyof NamespaceFacts, unknown>;
  const hex = (text: unknown, digits: number): boolean =>
    typeof text === 'string' && text.length === digits && /^[0-9a-f]*$/.test(text);
  const isCount = (count: unknown): boolean => Number.isInteger(count) && Number(count) >= 0;
  return (
    typeof facts.model === 'string' &&
    hex(facts.modelDigest, 64) &&
    (facts.adapterDigest === '' || hex(facts.adapterDigest, 64)) &&
    (facts.saltDigest === '' || hex(facts.saltDigest, 64)) &&
    hex(facts.layout, 32) &&
    isCount(facts.rank) &&
    isCount(facts.ranks)
  );
}
