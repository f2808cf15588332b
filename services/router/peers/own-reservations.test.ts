import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ReannounceSchema } from '#gen/stator/router/v1/router_pb.ts';
import { OwnReservations } from './own-reservations.ts';
import { reservationKey } from './ports.ts';
import { StrictAccounts } from './strict-accounts.test-support.ts';

const key = reservationKey('g', 'one');

describe('own reservations', () => {
  let accounts: StrictAccounts;
  let own: OwnReservations;

  beforeEach(() => {
    accounts = new StrictAccounts();
    own = new OwnReservations(accounts, 'a1');
  });

  function place(owner: string, gatewayId = 'g', claimNumber = 0n): boolean {
    const route = { requestId: 'one', claimNumber };
    accounts.place(owner, 'one', key, create(ReannounceSchema, { route, instanceId: 7n }));
    return own.add(owner, gatewayId, 'one') !== null;
  }

  function owners(): string[] {
    return ['first', 'second'].filter((owner) => accounts.describe(owner, 'one') !== undefined);
  }

  it('are of the newest session of their gateway', () => {
    place('first');
    expect(place('second')).to.equal(true);
    expect([owners(), own.size]).to.deep.equal([['second'], 1]);
    expect(own.get('first', 'one')).to.equal(undefined);
    expect(own.ofOwner('second').map((each) => each.key)).to.deep.equal([key]);
  });

  it('are of the session that the gateway numbered higher', () => {
    place('first', 'g', 9n);
    expect(place('second', 'g', 8n)).to.equal(false);
    expect([owners(), own.size]).to.deep.equal([['first'], 1]);
  });

  it('of callers without a gateway are those of this replica and owner alone', () => {
    place('first', '');
    place('second', '');
    expect(own.size).to.equal(2);
    expect([...own.all()].map(({ gatewayId }) => gatewayId)).to.deep.equal(['first@a1', 'second@a1']);
    expect([...own.all()].map((each) => own.describe(each)?.gatewayId)).to.deep.equal(['first@a1', 'second@a1']);
  });
});
