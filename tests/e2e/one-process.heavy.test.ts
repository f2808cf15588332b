import { endToEndSuite } from './suite.ts';

endToEndSuite({ name: 'all services in one process', options: { discovery: 'memory' } });
