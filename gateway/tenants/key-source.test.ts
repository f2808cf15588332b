import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { unlimited } from './caller.ts';
import type { KeySource } from './key-source.ts';
import { RateLimits } from './rate-limits.ts';
import { Tenants } from './tenants.ts';

const caller = { ...unlimited, id: 'ci', tenant: 'ci' };
const key = { caller, expiresUnixMs: null, disabled: false };

/** A source with one key, last known to be so that long ago. */
function sourceOf(ageMs: number): KeySource {
  return {
    keys: new Map([[createHash('sha256').update('right').digest('hex'), key]]),
    ids: new Map([['ci', key]]),
    problem: null,
    refused: 0,
    seenMs: performance.now() - ageMs,
    close: async () => {},
  };
}

describe('keys whose source does not answer', () => {
  const tenantsOf = (ageMs: number, mostStaleMs: number | null): Tenants =>
    new Tenants({ file: undefined, stored: sourceOf(ageMs), mostStaleMs, limits: new RateLimits() });

  async function outcomeOf(tenants: Tenants, token: string): Promise<string> {
    try {
      return (await tenants.authenticate({ authorization: '', apiKey: token })).id;
    } catch (thrown) {
      return StatorError.from(thrown).code;
    }
  }

  it('are good for as long as the settings say', async () => {
    expect(await outcomeOf(tenantsOf(3_600_000, null), 'right')).to.equal('ci');
    expect(await outcomeOf(tenantsOf(0, 3_600_000), 'right')).to.equal('ci');
    const late = tenantsOf(7_200_000, 3_600_000);
    expect(await outcomeOf(late, 'right')).to.equal('storage_unavailable');
    expect(() => late.renewed(caller)).to.throw('API keys cannot be checked now');
    expect(await outcomeOf(late, 'wrong')).to.equal('unauthenticated');
    expect(late.ageMs).to.be.at.least(7_200_000);
  });
});
