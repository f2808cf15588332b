import { describeBackend } from './conformance.ts';

describeBackend('tcp', () => undefined);
