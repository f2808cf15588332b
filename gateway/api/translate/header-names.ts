/** Headers that say something of routing; the first name that is there counts. Ours, then Dynamo's, then its older ones. */
export const headerNames = {
  instanceId: ['x-stator-worker-instance-id', 'x-dynamo-worker-instance-id', 'x-worker-instance-id'],
  prefillInstanceId: ['x-stator-prefill-instance-id', 'x-dynamo-prefill-instance-id', 'x-prefill-instance-id'],
  dataParallelRank: ['x-stator-dp-rank', 'x-dynamo-dp-rank', 'x-dp-rank', 'x-data-parallel-rank'],
  prefillDataParallelRank: ['x-stator-prefill-dp-rank', 'x-dynamo-prefill-dp-rank', 'x-prefill-dp-rank'],
  priority: ['x-stator-request-priority', 'x-dynamo-request-priority'],
  strictPriority: ['x-stator-request-strict-priority', 'x-dynamo-request-strict-priority'],
  tenantId: ['x-stator-tenant-id', 'x-tenant-id'],
  sessionId: ['x-stator-session-id', 'x-dynamo-session-id'],
  parentSessionId: ['x-stator-parent-session-id', 'x-dynamo-parent-session-id'],
  sessionFinal: ['x-stator-session-final', 'x-dynamo-session-final'],
  kvIsolation: ['x-stator-kv-isolation'],
  policyClass: ['x-stator-meta-policy-class', 'x-dynamo-meta-policy-class'],
  timeoutMs: ['x-stator-timeout-ms'],
} as const;

/** What precedes the keys of metadata that a client attaches. */
export const metadataPrefixes = ['x-stator-meta-', 'x-dynamo-meta-'] as const;
