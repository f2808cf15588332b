import { expect } from 'chai';
import { seeded } from '../random.ts';
import { VirtualClock } from './virtual-clock.ts';

function runAll(clock: VirtualClock): void {
  while (clock.runNext());
}

describe('VirtualClock', () => {
  it('runs events by time, and those of one time in the order in which they were set', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    const note = (name: string) => () => seen.push(`${name}@${clock.nowMs}`);
    clock.after(5, note('late'));
    clock.after(1, () => {
      note('first')();
      clock.after(0, note('soon'));
      clock.after(4, note('later'));
    });
    clock.after(1, note('second'));
    expect(clock.nextMs).to.equal(1);
    runAll(clock);
    expect(seen).to.deep.equal(['first@1', 'second@1', 'soon@1', 'late@5', 'later@5']);
    expect(clock.nextMs).to.equal(Infinity);
    expect(clock.ran).to.equal(5);
  });

  it('does not run what was called off, and moves timers', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    const cancel = clock.after(1, () => seen.push('cancelled'));
    const timer = clock.timer(() => {
      seen.push(`timer@${clock.nowMs}`);
      if (clock.nowMs < 4) timer.set(clock.nowMs + 2);
    });
    const cleared = clock.timer(() => seen.push('cleared'));
    timer.set(9);
    timer.set(2);
    cleared.set(3);
    cancel();
    cancel();
    cleared.clear();
    runAll(clock);
    expect(seen).to.deep.equal(['timer@2', 'timer@4']);
    timer.set(1);
    runAll(clock);
    expect(seen.at(-1)).to.equal('timer@4');
    expect(seen).to.have.length(3);
  });

  it('never goes back, whatever is set', () => {
    const clock = new VirtualClock();
    const random = seeded(3);
    let last = 0;
    let left = 2000;
    const event = (): void => {
      expect(clock.nowMs).to.be.at.least(last);
      last = clock.nowMs;
      for (let n = Math.floor(random() * 4); n > 0 && left-- > 0; n--) clock.after(random() * 10 - 2, event);
    };
    for (let n = 0; n < 50; n++) clock.after(random() * 10, event);
    runAll(clock);
    expect(left).to.be.at.most(0);
  });
});
