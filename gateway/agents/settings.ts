import { setting } from '#lib/config/settings.ts';

const group = 'Agents';

/** Settings of what the gateway does for agents. docs/agents.md describes it. */
export const agentSettings = {
  sessionIds: setting.choice(['hashed', 'plain'], {
    default: 'hashed',
    group,
    help: 'How sessions are named in traces, request traces and the console: by digests, or as clients call them.',
  }),
  sessionAccounts: setting.integer({
    default: 10_000,
    min: 1,
    max: 1_000_000,
    group,
    help: 'Sessions whose use is accounted; the one unused for longest is forgotten first.',
  }),
  sessionAccountTtlSeconds: setting.integer({
    default: 3600,
    min: 1,
    group,
    help: 'Seconds without a request after which the account of a session is forgotten.',
  }),
  sessionAccountsSyncSeconds: setting.number({
    default: 2,
    min: 0.05,
    max: 60,
    group,
    help: 'Seconds between exchanges of those accounts with other gateways of the same --store.',
  }),
  speculativePrefills: setting.integer({
    default: 4,
    min: 0,
    max: 1024,
    group,
    help: 'Next turns computed in advance at once, where requests ask for it; 0: none, and that is refused.',
  }),
  speculativePrefillMaxLoad: setting.number({
    default: 4,
    min: 0,
    group,
    help: 'Prompts of clients that run for each worker of a model, beyond which nothing is computed in advance for it.',
  }),
  speculativePrefillTimeoutSeconds: setting.number({
    default: 60,
    min: 0.01,
    max: 3600,
    group,
    help: 'Seconds after which a next turn that is computed in advance is given up.',
  }),
  requestTrace: setting.optionalString({
    group,
    help: 'File that gets a JSON line for each prompt and tool, for stator replay: lengths, times and hashes, no content. Packed if it ends in .gz.',
  }),
  requestTraceMaxMib: setting.number({
    default: 256,
    min: 0.001,
    group,
    help: 'Size after which that file is put aside (trace.jsonl as trace.1.jsonl), in MiB.',
  }),
  requestTraceFiles: setting.integer({
    default: 4,
    min: 1,
    max: 1000,
    group,
    help: 'Files of it that are kept; with 1 it begins anew.',
  }),
  requestTraceQueue: setting.integer({
    default: 10_000,
    min: 1,
    group,
    help: 'Lines of it that wait for the disk at most; more are lost, and counted.',
  }),
  toolEventsEndpoint: setting.optionalString({
    group,
    help: 'ZeroMQ address, for example tcp://127.0.0.1:20390, to which agents push when their tools start and end.',
  }),
  toolEventsTopic: setting.string({
    default: 'agent-tool-events',
    group,
    help: 'First frame of those messages; others are passed over.',
  }),
};
