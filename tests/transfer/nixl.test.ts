import { findNixl, NO_NIXL } from '#tests/support/nixl.ts';
import { describeBackend } from './conformance.ts';

describeBackend('nixl', () => (findNixl() === undefined ? NO_NIXL : undefined));
