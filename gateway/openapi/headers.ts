import { headerNames } from '../api/translate/header-names.ts';

interface HeaderDoc {
  readonly description: string;
  readonly schema: object;
}

/** Decimal digits; an empty header counts as absent, which no schema of an integer could say. */
const digits = (most: number): object => ({ type: 'string', pattern: `^\\d{0,${most}}$` });
const id = digits(20);
const rank = digits(10);
const text = { type: 'string' };
/** As with Dynamo. */
const lenient = 'Anything else is taken for absent.';

const docs: Readonly<Record<keyof typeof headerNames, HeaderDoc>> = {
  instanceId: { description: 'Worker that must serve the request.', schema: id },
  prefillInstanceId: { description: 'Worker that must prefill; where one worker does both, the same.', schema: id },
  dataParallelRank: {
    description: 'Data parallel rank that must serve it, up to 4294967295, which is any.',
    schema: rank,
  },
  prefillDataParallelRank: { description: 'The same for prefill.', schema: rank },
  priority: { description: `Higher runs earlier: an integer from -2147483648 to 2147483647. ${lenient}`, schema: text },
  strictPriority: {
    description: `Strictly higher leaves the queue first: an integer from 0 to 4294967295. ${lenient}`,
    schema: text,
  },
  tenantId: { description: 'Separates prefix caches; wins over every cache_salt.', schema: text },
  sessionId: { description: 'Requests of one session prefer one worker.', schema: text },
  parentSessionId: { description: 'Session of the agent that began this one.', schema: text },
  sessionFinal: { description: 'Whether no request of the session follows: `true` or `1`.', schema: text },
  kvIsolation: {
    description: 'Whose cached prompts are kept apart: none, those of a subagent, or those of any session.',
    schema: { type: 'string', pattern: '^(none|subagent|session)?$' },
  },
  policyClass: { description: "Class or family of the router's queue.", schema: text },
  timeoutMs: { description: 'Milliseconds for the whole request, from 1 to 86400000.', schema: digits(8) },
};

/** Parameters of operations that are routed. docs/nvext.md says more. */
export function routingHeaders(): object[] {
  return Object.entries(docs).map(([key, { description, schema }]) => {
    const [name, ...others] = headerNames[key as keyof typeof headerNames];
    const aliases = others.length === 0 ? '' : ` Also ${others.map((other) => `\`${other}\``).join(', ')}.`;
    return { name, in: 'header', required: false, description: description + aliases, schema };
  });
}
