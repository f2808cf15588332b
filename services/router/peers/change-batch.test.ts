import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type Reannounce, ReannounceSchema, SessionBindingSchema } from '#gen/stator/router/v1/router_pb.ts';
import { ChangeBatch, type Changes, maxPartBytes } from './change-batch.ts';
import type { OwnReservation } from './own-reservations.ts';

function own(requestId: string): OwnReservation {
  return { owner: 'o', gatewayId: 'g', requestId, key: `g ${requestId}` };
}

function describeWith(bytes: number): (own: OwnReservation) => Reannounce {
  return ({ requestId }) =>
    create(ReannounceSchema, { route: { requestId, sequenceHashes: new Uint8Array(bytes) }, prefillDone: true });
}

function names(changes: Changes | undefined): string[][] {
  return [
    (changes?.placed ?? []).map(({ route }) => route?.requestId ?? ''),
    (changes?.prefillDone ?? []).map(({ requestId }) => requestId),
    (changes?.finished ?? []).map(({ requestId }) => requestId),
  ];
}

describe('a batch of changes', () => {
  it('tells of each reservation once, as it is in the end', () => {
    const batch = new ChangeBatch();
    batch.placed(own('a'));
    batch.prefillDone(own('a'));
    batch.placed(own('b'));
    batch.finished(own('b'));
    batch.finished(own('c'));
    batch.placed(own('c'));
    batch.prefillDone(own('d'));
    batch.prefillDone(own('e'));
    batch.finished(own('e'));
    const [changes, ...others] = batch.take(describeWith(8));
    expect(names(changes)).to.deep.equal([['a', 'c'], ['d'], ['b', 'e']]);
    expect(changes?.placed[0]?.prefillDone).to.equal(true);
    expect([others.length, batch.size]).to.deep.equal([0, 0]);
  });

  it('tells that one is gone which the accounts have no more', () => {
    const batch = new ChangeBatch();
    batch.placed(own('a'));
    expect(names(batch.take(() => undefined)[0])).to.deep.equal([[], [], ['a']]);
  });

  it('becomes several messages where prompts are long', () => {
    const batch = new ChangeBatch();
    for (const requestId of ['a', 'b', 'c', 'd', 'e']) batch.placed(own(requestId));
    batch.finished(own('f'));
    const all = batch.take(describeWith(maxPartBytes / 2 - 1000));
    expect(all.map(names)).to.deep.equal([
      [['a', 'b'], [], ['f']],
      [['c', 'd'], [], []],
      [['e'], [], []],
    ]);
    expect(Math.max(...all.map(({ bytes }) => bytes))).to.be.at.most(maxPartBytes);
  });

  it('tells the last of several uses of a session', () => {
    const batch = new ChangeBatch();
    for (const instanceId of [1n, 2n])
      batch.bound(create(SessionBindingSchema, { model: 'm', sessionId: 's', instanceId }));
    batch.bound(create(SessionBindingSchema, { model: 'n', sessionId: 's', instanceId: 3n }));
    expect(batch.take(() => undefined)[0]?.sessions.map(({ instanceId }) => instanceId)).to.deep.equal([2n, 3n]);
  });
});
