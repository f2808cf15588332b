import { describeBackend } from './conformance.ts';

describeBackend('shm', () => (process.platform === 'linux' ? undefined : 'copies between processes need Linux'));
