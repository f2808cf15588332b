import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type Reannounce, ReannounceSchema } from '#gen/stator/router/v1/router_pb.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { PeerClaims } from './claims.ts';
import { peerMetrics } from './metrics.ts';
import { reservationKey } from './ports.ts';
import { StrictAccounts } from './strict-accounts.test-support.ts';

const worker = 7n;
const key = reservationKey('g', 'one');

function one(
  fields: { prefillDone?: boolean; outputTokens?: number; instanceId?: bigint } = {},
  claimNumber = 0n,
): Reannounce {
  const route = { requestId: 'one', model: 'm', promptTokens: 10, claimNumber };
  return create(ReannounceSchema, { route, instanceId: worker, gatewayId: 'g', ...fields });
}

describe('claims of replicas', () => {
  let accounts: StrictAccounts;
  let own: Map<string, bigint>;
  let claims: PeerClaims;

  beforeEach(() => {
    accounts = new StrictAccounts();
    accounts.workers.add(worker);
    own = new Map();
    claims = new PeerClaims({
      accounts,
      metrics: peerMetrics(quietTelemetry().metrics),
      maxPerPeer: 10,
      own: {
        has: (wanted) => own.has(wanted),
        claimNumber: (wanted) => own.get(wanted) ?? 0n,
        release: (wanted) => {
          own.delete(wanted);
          claims.ownEnded(wanted);
        },
      },
    });
    for (const peer of [1n, 2n]) claims.setLinked(peer, true);
  });

  function booked(): (Reannounce | undefined)[] {
    return ['peer:1', 'peer:2'].map((owner) => accounts.describe(owner, key));
  }

  it('count one of two replicas, and the other when that one ends', () => {
    claims.placed(1n, one());
    claims.placed(2n, one());
    expect(claims.count()).to.deep.equal({ counted: 1, shadowed: 1, waiting: 0 });
    claims.prefillDone(2n, key);
    claims.finished(1n, key);
    expect(booked()[0]).to.equal(undefined);
    expect(booked()[1]).to.include({ prefillDone: true });
    claims.finished(2n, key);
    expect(accounts.size).to.equal(0);
  });

  it('give way for good where their replica cannot be heard and another one tells of the same', () => {
    claims.placed(1n, one());
    claims.setLinked(1n, false);
    expect(claims.count()).to.include({ counted: 1 });
    claims.placed(2n, one());
    expect(claims.count()).to.deep.equal({ counted: 1, shadowed: 0, waiting: 0 });
    claims.finished(2n, key);
    expect(accounts.size).to.equal(0);
    claims.placed(2n, one());
    claims.setLinked(1n, true);
    claims.placed(1n, one());
    claims.setLinked(1n, false);
    expect(claims.count()).to.deep.equal({ counted: 1, shadowed: 0, waiting: 0 });
  });

  it('end where their replica cannot be heard and another one says that it ended', () => {
    claims.placed(1n, one());
    claims.setLinked(1n, false);
    claims.finished(2n, key);
    expect([accounts.size, claims.size(1n)]).to.deep.equal([0, 0]);
  });

  it("give way to the router's own, for good where their replica cannot be heard", () => {
    claims.placed(1n, one());
    own.set(key, 0n);
    claims.ownPlaced(key);
    expect([accounts.size, claims.count().shadowed]).to.deep.equal([0, 1]);
    own.delete(key);
    claims.ownEnded(key);
    expect(claims.count()).to.include({ counted: 1, shadowed: 0 });
    claims.setLinked(1n, false);
    own.set(key, 0n);
    claims.ownPlaced(key);
    own.delete(key);
    claims.ownEnded(key);
    expect([accounts.size, claims.size(1n)]).to.deep.equal([0, 0]);
  });

  it("give way to the gateway's newer claim, whoever tells of it and in whichever order", () => {
    claims.placed(1n, one({}, 4n));
    claims.placed(2n, one({}, 5n));
    expect([claims.size(1n), claims.size(2n)]).to.deep.equal([0, 1]);
    claims.placed(1n, one({}, 4n));
    expect([claims.size(1n), claims.size(2n)]).to.deep.equal([0, 1]);
    own.set(key, 6n);
    claims.ownPlaced(key);
    expect([accounts.size, claims.size(2n)]).to.deep.equal([0, 0]);
    claims.placed(2n, one({}, 5n));
    expect([accounts.size, claims.size(2n)]).to.deep.equal([0, 0]);
    claims.placed(1n, one({}, 7n));
    expect([accounts.size, own.size]).to.deep.equal([1, 0]);
    own.set(key, 6n);
    claims.ownPlaced(key);
    expect([accounts.size, own.size], 'an old session speaks up late').to.deep.equal([1, 0]);
  });

  it('are kept where only one side numbers them', () => {
    claims.placed(1n, one());
    claims.placed(2n, one({}, 5n));
    own.set(key, 0n);
    claims.ownPlaced(key);
    expect(claims.count()).to.deep.equal({ counted: 0, shadowed: 2, waiting: 0 });
  });

  it('follow progress, and a request that was placed anew', () => {
    accounts.workers.add(8n);
    claims.placed(1n, one());
    claims.placed(1n, one({ prefillDone: true, outputTokens: 40 }));
    expect(booked()[0]).to.include({ prefillDone: true, outputTokens: 40 });
    claims.placed(1n, one({ instanceId: 8n }));
    expect(booked()[0]).to.include({ instanceId: 8n, prefillDone: false, outputTokens: 0 });
    expect(accounts.size).to.equal(1);
  });

  it('wait for a worker that is not known, or not any more', () => {
    accounts.workers.delete(worker);
    claims.placed(1n, one());
    expect(claims.count()).to.deep.equal({ counted: 0, shadowed: 0, waiting: 1 });
    accounts.workers.add(worker);
    claims.workerUp(worker);
    expect(claims.count()).to.deep.equal({ counted: 1, shadowed: 0, waiting: 0 });
    accounts.workers.delete(worker);
    accounts.endWorker(worker);
    claims.workerGone(worker);
    claims.prefillDone(1n, key);
    expect(claims.count()).to.include({ waiting: 1 });
    claims.finished(1n, key);
    expect(claims.count()).to.deep.equal({ counted: 0, shadowed: 0, waiting: 0 });
  });

  it('keep their own bytes of the message that told of them', () => {
    const message = new Uint8Array(1 << 16);
    const reservation = one();
    if (reservation.route !== undefined) reservation.route.sequenceHashes = message.subarray(8, 24);
    claims.placed(1n, reservation);
    expect(booked()[0]?.route?.sequenceHashes.buffer.byteLength).to.equal(16);
  });
});
