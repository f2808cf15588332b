import { findEtcd } from '../support/etcd-binary.ts';
import { endToEndSuite } from './suite.ts';

endToEndSuite({
  name: 'five processes that find each other through etcd',
  options: { separateProcesses: true, discovery: 'etcd' },
  unavailable: async () => ((await findEtcd()) === undefined ? 'there is no etcd on this machine' : undefined),
});
