import { expect } from 'chai';
import { pino } from 'pino';
import { KeyRecords } from './key-records.ts';

const hash = (digit: string): string => digit.repeat(64);
const record = (id: string, digit: string, more: object = {}): Uint8Array =>
  Buffer.from(JSON.stringify({ id, hash: `sha256:${hash(digit)}`, ...more }));

function recordsWith(most?: number): { records: KeyRecords; told: string[] } {
  const told: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void told.push(line) });
  return { records: new KeyRecords(log, most), told };
}

describe('records of API keys', () => {
  it('are in force one by one, with the key before them', () => {
    const { records } = recordsWith();
    const previous = { hash: `sha256:${hash('b')}`, expires: '2100-01-01T00:00:00Z' };
    records.replaceAll([['ci', record('ci', 'a', { previous, tenant: 't' })]]);
    expect([...records.keys.keys()]).to.deep.equal([hash('a'), hash('b')]);
    expect(records.ids.get('ci')).to.deep.include({ expiresUnixMs: null, disabled: false });
    expect(records.keys.get(hash('b'))?.expiresUnixMs).to.equal(Date.parse(previous.expires));
    records.put('ci', record('ci', 'c'));
    expect([...records.keys.keys()]).to.deep.equal([hash('c')]);
    records.remove('ci');
    expect([records.keys.size, records.ids.size, records.refused, records.problem]).to.deep.equal([0, 0, 0, null]);
  });

  it('that are no keys are left out, said once, and without what they hold', () => {
    const { records, told } = recordsWith();
    const bad: [string, Uint8Array][] = [
      ['text', Buffer.from('sk-stator-secret')],
      ['none', Buffer.from('{"id": "none"}')],
      ['name', record('other', 'a')],
      ['more', record('more', 'a', { secret_field: 'sk-stator-secret' })],
    ];
    for (const [id, value] of bad) records.put(id, value);
    records.replaceAll([...bad, ['good', record('good', 'b')]]);
    expect([...records.ids.keys()]).to.deep.equal(['good']);
    expect(records.refused).to.equal(4);
    expect(records.problem).to.contain('4 records are no keys');
    expect(told).to.have.length(4);
    expect(told.join()).not.to.contain('sk-stator-secret');
    // What a record said before is not in force any more.
    records.put('good', Buffer.from(''));
    expect(records.keys.size).to.equal(0);
    records.put('good', record('good', 'b'));
    expect(records.refused).to.equal(4);
  });

  it('that hold the key of another wait until that is gone', () => {
    const { records } = recordsWith();
    records.replaceAll([
      ['a', record('a', 'a')],
      ['b', record('b', 'a')],
    ]);
    expect(records.keys.get(hash('a'))?.caller.id).to.equal('a');
    expect(records.refused).to.equal(1);
    records.put('a', record('a', 'c'));
    expect(records.keys.get(hash('a'))?.caller.id).to.equal('b');
    expect(records.refused).to.equal(0);
  });

  it('are in force up to a number', () => {
    const { records } = recordsWith(2);
    for (const id of ['a', 'b', 'c']) records.put(id, record(id, id));
    expect([...records.ids.keys()]).to.deep.equal(['a', 'b']);
    records.remove('a');
    expect([...records.ids.keys()]).to.deep.equal(['b', 'c']);
  });
});
