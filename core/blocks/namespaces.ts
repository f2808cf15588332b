import { BlockError } from './block-error.ts';

/**
 * Whose blocks may be shared at all: everything beside the tokens that decides the bytes (contents of model and adapter,
 * layout, data type, parallel rank, engine's format, salt of the tenant), as a digest.
 */
export interface Namespace {
  /** 128 bits in hexadecimal, 32 digits. */
  readonly digest: string;
  /** Name of the model, for people and for keys in object stores. */
  readonly model: string;
  /** Who is charged, and whose blocks a purge drops. */
  readonly tenant: string;
  /** Index of the arena, the same in every tier, whose blocks have this namespace's layout. */
  readonly arena: number;
}

/** Namespaces and tenants as small numbers, given once and kept. */
export class Namespaces {
  readonly #all: Namespace[] = [];
  readonly #tenantOf: number[] = [];
  readonly #byDigest = new Map<string, number>();
  readonly #tenants = new Map<string, number>();

  get count(): number {
    return this.#all.length;
  }

  get tenants(): number {
    return this.#tenants.size;
  }

  /** Number of a namespace. Throws BlockError `unknown_namespace` when its digest is known with other properties, or is none. */
  number(namespace: Namespace): number {
    if (!/^[0-9a-f]{32}$/.test(namespace.digest))
      throw new BlockError('unknown_namespace', `namespace digest '${namespace.digest}' is not 32 hexadecimal digits`);
    const known = this.#byDigest.get(namespace.digest);
    if (known !== undefined) return this.#same(known, namespace);
    const number = this.#all.push(namespace) - 1;
    this.#byDigest.set(namespace.digest, number);
    if (!this.#tenants.has(namespace.tenant)) this.#tenants.set(namespace.tenant, this.#tenants.size);
    this.#tenantOf.push(this.#tenants.get(namespace.tenant) ?? 0);
    return number;
  }

  get(number: number): Namespace {
    const namespace = this.#all[number];
    if (namespace === undefined) throw new BlockError('unknown_namespace', `there is no namespace ${number}`);
    return namespace;
  }

  /** Number of the namespace with that digest; -1 when none has it. */
  find(digest: string): number {
    return this.#byDigest.get(digest) ?? -1;
  }

  /** Number of the tenant whom a namespace belongs to. */
  tenantOf(number: number): number {
    return this.#tenantOf[number] ?? 0;
  }

  /** Number of a tenant; -1 for one without namespaces. */
  tenant(name: string): number {
    return this.#tenants.get(name) ?? -1;
  }

  #same(known: number, { digest, tenant, arena }: Namespace): number {
    const old = this.get(known);
    if (old.tenant === tenant && old.arena === arena) return known;
    throw new BlockError('unknown_namespace', `namespace ${digest} is known with another tenant or arena`, {
      tenant: old.tenant,
      arena: old.arena,
    });
  }
}
