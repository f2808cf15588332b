import { expect } from 'chai';
import { Scenario } from './scenario.test-support.ts';

/** Drawn anew by raising it; a failure names its seed. */
const firstSeed = 1;

describe('replicas under random faults', () => {
  for (const replicas of [2, 3]) {
    it(`converge to what their gateways hold, ${replicas} of them, and end with nothing`, () => {
      for (let seed = firstSeed; seed < firstSeed + 500; seed++) {
        const scenario = new Scenario({ seed: seed * 10 + replicas, replicas });
        scenario.disturb(60);
        scenario.heal();
        const truth = scenario.truth();
        for (const view of scenario.views()) expect(view, `seed ${seed}`).to.deep.equal(truth);
        const pairs = (replicas * (replicas - 1)) / 2;
        expect(scenario.streams(), `streams, seed ${seed}`).to.equal(pairs);
        for (const { sync } of scenario.replicas()) {
          expect(sync.linked.length, `links, seed ${seed}`).to.equal(replicas - 1);
          expect(sync.told, `seed ${seed}`).to.include({ shadowed: 0, waiting: 0 });
        }
        scenario.finishAll();
        for (const { accounts, sync } of scenario.replicas()) {
          expect(accounts.size, `seed ${seed}`).to.equal(0);
          expect(sync.told, `seed ${seed}`).to.deep.equal({ counted: 0, shadowed: 0, waiting: 0 });
        }
      }
    });
  }
});
