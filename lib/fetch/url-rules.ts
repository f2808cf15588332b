import { isIP } from 'node:net';
import { StatorError } from '#lib/errors/errors.ts';
import { AddressRules } from './addresses.ts';
import { fetchFailure } from './failure.ts';

export interface UrlPolicy {
  /** "https:" and, where clear text may be fetched, "http:". */
  readonly protocols: readonly string[];
  /** Empty: any. */
  readonly ports: readonly number[];
  /** Names, `*.example.org` for all below one. Not empty: these alone. */
  readonly allowedHosts: readonly string[];
  /** Never these, whatever else is allowed. */
  readonly deniedHosts: readonly string[];
  /** Networks, in CIDR, that may be reached although they are not public. */
  readonly allowedNetworks: readonly string[];
}

/** Names that mean something else inside than outside; an address behind them is checked besides. */
const innerHosts = [
  'localhost',
  '*.localhost',
  '*.localdomain',
  '*.local',
  '*.internal',
  '*.home.arpa',
  '*.svc',
  '*.cluster.local',
  '*.kubernetes.default',
  'kubernetes.default',
  'metadata.*',
  'instance-data.*',
];
const maxUrlChars = 8192;

/** Decides what may be fetched before anything is asked of the network. */
export class UrlRules {
  readonly #policy: UrlPolicy;
  readonly #allowed: HostPatterns;
  readonly #denied: HostPatterns;
  readonly #inner = new HostPatterns(innerHosts, 'innerHosts');
  readonly addresses: AddressRules;

  /** Throws `invalid_argument` for patterns and networks that are none. */
  constructor(policy: UrlPolicy) {
    this.#policy = policy;
    this.#allowed = new HostPatterns(policy.allowedHosts, 'allowedHosts');
    this.#denied = new HostPatterns(policy.deniedHosts, 'deniedHosts');
    this.addresses = new AddressRules(policy.allowedNetworks);
  }

  /** The URL of the text, relative to `base` if there is one. Throws StatorError that names `field`. */
  check(text: string, field: string, base?: URL): URL {
    const refuse = (message: string): StatorError => fetchFailure('refused_url', field, message);
    if (text.length > maxUrlChars) throw refuse(`is longer than ${maxUrlChars} characters`);
    if (!URL.canParse(text, base)) throw refuse('is no URL');
    const url = new URL(text, base);
    const { protocols, ports } = this.#policy;
    if (!protocols.includes(url.protocol))
      throw refuse(`must begin with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`);
    if (url.username !== '' || url.password !== '') throw refuse('must not hold a name or password');
    const port = portOf(url);
    if (ports.length > 0 && !ports.includes(port)) throw refuse(`has port ${port}, which may not be fetched from`);
    this.#checkHost(hostOf(url), field);
    return url;
  }

  #checkHost(host: string, field: string): void {
    const refuse = (): StatorError => fetchFailure('refused_url', field, 'is on a host that may not be fetched from');
    if (this.#denied.match(host)) throw refuse();
    const isNamed = this.#allowed.match(host);
    if (!this.#allowed.isEmpty && !isNamed) throw refuse();
    if (isIP(host) !== 0) {
      if (!this.addresses.allows(host)) throw fetchFailure('refused_address', field, 'may not be fetched from');
      return;
    }
    // A name without a dot is completed by the resolver's search list: it is one of ours, not one of the internet's.
    if (!isNamed && (!host.includes('.') || this.#inner.match(host))) throw refuse();
  }
}

/** The host without an IPv6 address's brackets and without the dot of the root. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
}

function portOf({ port, protocol }: URL): number {
  if (port !== '') return Number(port);
  return protocol === 'https:' ? 443 : 80;
}

class HostPatterns {
  readonly #exact = new Set<string>();
  readonly #below: string[] = [];
  readonly #above: string[] = [];

  constructor(patterns: readonly string[], field: string) {
    for (const pattern of patterns) {
      const name = pattern.trim().toLowerCase();
      if (!/^(\*\.)?[^*\s/:@]+(\.\*)?$/.test(name) && isIP(name) === 0)
        throw StatorError.invalid(field, `${field}: ${JSON.stringify(pattern)} is no host`);
      if (name.startsWith('*.')) this.#below.push(name.slice(1));
      else if (name.endsWith('.*')) this.#above.push(name.slice(0, -1));
      else this.#exact.add(name);
    }
  }

  get isEmpty(): boolean {
    return this.#exact.size + this.#below.length + this.#above.length === 0;
  }

  match(host: string): boolean {
    if (this.#exact.has(host)) return true;
    return this.#below.some((end) => host.endsWith(end)) || this.#above.some((start) => host.startsWith(start));
  }
}
