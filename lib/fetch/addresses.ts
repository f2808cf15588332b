import ipaddr from 'ipaddr.js';
import { StatorError } from '#lib/errors/errors.ts';

type Network = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];

/** All that is routed in IPv6; what lies outside is local, translated or not assigned. */
const globalIpv6 = ipaddr.parseCIDR('2000::/3');
/** Addresses that are public by number only: Azure's machines ask this one for their own configuration. */
const metadata = new Set(['168.63.129.16']);

/** Which addresses may be connected to: those of the public internet, and the networks that are named. */
export class AddressRules {
  readonly #allowed: readonly Network[];

  /** `allowedNetworks`: CIDR. Throws `invalid_argument` that names `field` for what is none. */
  constructor(allowedNetworks: readonly string[], field = 'allowedNetworks') {
    this.#allowed = allowedNetworks.map((text) => {
      if (!ipaddr.isValidCIDR(text))
        throw StatorError.invalid(field, `${field}: ${JSON.stringify(text)} is no network`);
      return ipaddr.parseCIDR(text);
    });
  }

  /** Every form of an address is judged as what it is: mapped, translated and tunnelled ones are not public. */
  allows(address: string): boolean {
    if (!ipaddr.isValid(address)) return false;
    const parsed = ipaddr.parse(address);
    if (this.#allowed.some(([network, bits]) => network.kind() === parsed.kind() && parsed.match(network, bits)))
      return true;
    if (parsed.range() !== 'unicast' || metadata.has(parsed.toString())) return false;
    return parsed.kind() === 'ipv4' || parsed.match(globalIpv6);
  }
}
