import { expect } from 'chai';
import { scrape } from '../../support/scrape.ts';
import type { GetStack } from './stack.ts';

/** Every process has a metrics page that a Prometheus server accepts. */
export function metricsCases(stack: GetStack): void {
  it('of every service parse', async () => {
    for (const { role, address } of stack().cluster.members) {
      const samples = await scrape(address);
      expect(samples.length, role).to.be.greaterThan(0);
    }
  });

  it('of ours begin with stator_', async () => {
    for (const { role, address } of stack().cluster.members) {
      const foreign = (await scrape(address)).filter(({ name }) => !name.startsWith('stator_'));
      expect(foreign, role).to.deep.equal([]);
    }
  });
}
