import { expect } from 'chai';
import { isOpenEndpoint } from './endpoint.ts';

describe('endpoints of engines', () => {
  it('are open to other machines unless they are of this one', () => {
    for (const endpoint of ['tcp://*:5557', 'tcp://0.0.0.0:5557', 'tcp://10.0.0.1:1', 'tcp://[::]:1', 'tcp://eth0:1'])
      expect(isOpenEndpoint(endpoint), endpoint).to.equal(true);
    for (const endpoint of ['tcp://127.0.0.1:5557', 'tcp://localhost:1', 'tcp://[::1]:1', 'tcp://lo:1', 'ipc:///tmp/x'])
      expect(isOpenEndpoint(endpoint), endpoint).to.equal(false);
  });
});
