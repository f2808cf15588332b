import { expect } from 'chai';
import { RequestColumns, recordFields } from './request-columns.ts';
import type { RequestRecord } from './request-record.ts';

function recordOf(index: number): RequestRecord {
  const values = recordFields.map((field, at) => [field, field === 'index' ? index : index * 100 + at]);
  return Object.fromEntries(values) as unknown as RequestRecord;
}

describe('RequestColumns', () => {
  it('keeps every field of every record while there is room', () => {
    const columns = new RequestColumns({ maxRows: 3000, random: () => 0 });
    for (let index = 0; index < 3000; index++) columns.add(recordOf(index));
    expect(columns.rows).to.equal(3000);
    for (const [at, field] of recordFields.entries()) {
      const column = columns.column(field);
      expect(column).to.have.length(3000);
      expect(column[2999]).to.equal(field === 'index' ? 2999 : 299_900 + at);
    }
  });

  it('keeps an even sample beyond its bound', () => {
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const columns = new RequestColumns({ maxRows: 1000, random });
    for (let index = 0; index < 50_000; index++) columns.add(recordOf(index));
    expect(columns.rows).to.equal(1000);
    expect(columns.added).to.equal(50_000);
    const kept = columns.column('index');
    expect(new Set(kept).size).to.equal(1000);
    for (let decile = 0; decile < 10; decile++) {
      const share = kept.filter((index) => Math.floor(index / 5000) === decile).length;
      expect(share).to.be.within(60, 140);
    }
  });
});
