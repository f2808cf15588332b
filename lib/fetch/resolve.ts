import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { StatorError } from '#lib/errors/errors.ts';
import type { AddressRules } from './addresses.ts';
import { fetchFailure } from './failure.ts';

/** What asks the name servers. Not the system's own lookup: that holds a thread for as long as a hostile server likes. */
export interface NameResolver {
  resolve4(host: string): Promise<string[]>;
  resolve6(host: string): Promise<string[]>;
}

export interface ResolvedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** `servers`: ADDRESS or ADDRESS:PORT; none: the system's. Throws `invalid_argument` for what is none. */
export function openResolver(servers: readonly string[] = []): NameResolver {
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  if (servers.length === 0) return resolver;
  try {
    resolver.setServers(servers);
  } catch (cause) {
    throw StatorError.invalid('nameServers', `${servers.join(', ')}: not all of these are addresses`, { cause });
  }
  return resolver;
}

/**
 * The addresses of a host, asked once and all of them allowed: one that is not spoils the rest, because no honest host has
 * both kinds. Throws StatorError that names `field`.
 */
export async function resolveChecked(
  host: string,
  { resolver, rules, field }: { resolver: NameResolver; rules: AddressRules; field: string },
): Promise<readonly ResolvedAddress[]> {
  const refused = () => fetchFailure('refused_address', field, 'is on a host that may not be fetched from');
  const literal = isIP(host);
  if (literal !== 0) {
    if (!rules.allows(host)) throw refused();
    return [{ address: host, family: literal === 4 ? 4 : 6 }];
  }
  const [four, six] = await Promise.all([
    resolver.resolve4(host).catch(() => []),
    resolver.resolve6(host).catch(() => []),
  ]);
  const found: ResolvedAddress[] = [
    ...four.map((address) => ({ address, family: 4 as const })),
    ...six.map((address) => ({ address, family: 6 as const })),
  ];
  if (found.length === 0) throw fetchFailure('unresolved', field, 'is on a host that has no address');
  if (!found.every(({ address }) => rules.allows(address))) throw refused();
  return found;
}
