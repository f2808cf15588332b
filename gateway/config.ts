import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { serviceSettings } from '#lib/service/settings.ts';
import { agentSettings } from './agents/settings.ts';
import { edgeSettings } from './http/settings.ts';
import { mediaSettings } from './media/settings.ts';

export const gatewaySettings = defineSettings({
  ...serviceSettings,
  listen: setting.string({ default: '127.0.0.1:8000', help: 'Address of the public port: REST and inference.v1.' }),
  adminListen: setting.optionalString({
    help: 'Address of a port of its own for administration: /busy_threshold, /console, /metrics and the whole of /health are served there only. Beyond loopback it needs an internal token. Unset: on the public port.',
  }),
  ...edgeSettings,
  ...mediaSettings,
  bodyLimitMib: setting.number({ default: 45, min: 0.001, max: 1024, help: 'Largest request body, in MiB.' }),
  maxRequests: setting.integer({
    default: 4096,
    min: 1,
    help: 'Requests answered at once; more are refused with --overload-status.',
  }),
  overloadStatus: setting.choice(['529', '503', '429'], {
    default: '529',
    help: 'HTTP status of requests that are refused because too much is asked of the workers or of the gateway.',
  }),
  adminApi: setting.boolean({
    default: true,
    help: 'Whether /busy_threshold is served: to callers with the internal token, or without one to this machine only.',
  }),
  requestTimeoutSeconds: setting.integer({ default: 600, min: 0, help: 'Seconds for a whole request; 0: no limit.' }),
  migrationLimit: setting.integer({
    default: 3,
    min: 0,
    max: 16,
    help: 'How often a request may move to another worker.',
  }),
  migrationMaxTokens: setting.integer({
    default: 0,
    min: 0,
    help: 'Longest sequence that may move, in tokens; 0: any.',
  }),
  slowReaderTimeoutSeconds: setting.integer({
    default: 30,
    min: 1,
    help: 'Seconds without progress after which a client that does not read its stream is cut.',
  }),
  kserve: setting.boolean({
    default: true,
    help: 'Whether the Open Inference Protocol (KServe v2, Triton) is served by gRPC.',
  }),
  kserveStreamRequests: setting.integer({
    default: 16,
    min: 1,
    max: 1024,
    help: 'Requests with ids that one stream of that protocol has answered at once; more wait.',
  }),
  realtime: setting.boolean({
    default: true,
    help: 'Whether /v1/realtime is served: conversations in text over WebSocket.',
  }),
  realtimeConnections: setting.integer({
    default: 1024,
    min: 1,
    help: 'Connections of /v1/realtime at once; more are refused with --overload-status.',
  }),
  realtimeResponses: setting.integer({
    default: 4,
    min: 1,
    max: 64,
    help: 'Responses that one connection of /v1/realtime has made at once; more are refused.',
  }),
  realtimeMaxMessageKib: setting.integer({
    default: 1024,
    min: 1,
    max: 65_536,
    help: 'Largest message of a client of /v1/realtime, in KiB; a larger one ends the connection.',
  }),
  realtimeMaxItems: setting.integer({
    default: 1000,
    min: 1,
    help: 'Items that a conversation of /v1/realtime holds.',
  }),
  realtimeMaxConversationKib: setting.integer({
    default: 8192,
    min: 1,
    help: 'What the items of a conversation of /v1/realtime take together, in KiB.',
  }),
  realtimeIdleSeconds: setting.number({
    default: 900,
    min: 0.05,
    help: 'Seconds without a message and without a response after which a connection of /v1/realtime ends.',
  }),
  realtimeMaxSeconds: setting.number({
    default: 3600,
    min: 0.05,
    help: 'Seconds after which a connection of /v1/realtime ends; a response that is being made ends first.',
  }),
  sseKeepaliveSeconds: setting.integer({
    default: 0,
    min: 0,
    help: 'Seconds between comments on a silent stream; 0: none.',
  }),
  dispatchToolCalls: setting.boolean({
    default: false,
    help: 'Whether streamed chats tell each call once more as a whole, in an event `tool_call_dispatch`.',
  }),
  dispatchReasoning: setting.boolean({
    default: false,
    help: 'Whether streamed chats tell reasoning once more as a whole when it has ended, in an event `reasoning_dispatch`.',
  }),
  reasoningField: setting.choice(['both', 'reasoning_content', 'reasoning'], {
    default: 'both',
    help: 'Name under which chat answers show reasoning: reasoning_content (DeepSeek, Dynamo), reasoning (vLLM), or both.',
  }),
  strictTools: setting.choice(['enforce', 'prefer'], {
    default: 'prefer',
    help: 'Strict tools where nothing can keep calls to schemas: prefer trusts the model and says so by the header x-stator-not-enforced, enforce refuses them.',
  }),
  store: setting.string({
    default: 'memory:',
    secret: true,
    help: 'Where responses, files and batches are kept: memory: (gone with the process), sqlite:/FILE (gateways of one machine), postgres://USER:PASSWORD@HOST/DATABASE or redis://USER:PASSWORD@HOST:PORT/0.',
  }),
  storeMaxMib: setting.integer({
    default: 4096,
    min: 1,
    help: 'Size of the store beyond which it takes no more, in MiB.',
  }),
  maxFileMib: setting.integer({ default: 100, min: 1, max: 512, help: 'Largest file that can be uploaded, in MiB.' }),
  fileDays: setting.number({
    default: 30,
    min: 0.0001,
    help: 'Days that files are kept unless the client says otherwise.',
  }),
  batchConcurrency: setting.integer({
    default: 16,
    min: 1,
    max: 1024,
    help: 'Requests of one batch that run at once.',
  }),
  responseDays: setting.number({ default: 30, min: 0.0001, help: 'Days that stored responses are kept.' }),
  maxBackgroundResponses: setting.integer({
    default: 64,
    min: 0,
    help: 'Background responses that one gateway runs at once; more are refused.',
  }),
  backgroundLeaseSeconds: setting.number({
    default: 30,
    min: 1,
    max: 3600,
    help: 'Seconds of silence after which the background responses of a gateway are taken up by another one of the same --store.',
  }),
  maxTokenTables: setting.integer({ default: 32, min: 1, help: 'Vocabularies kept for turning tokens into text.' }),
  apiKeysFile: setting.optionalString({
    group: 'Tenants',
    help: 'File of API keys (docs/tenants.md); read again when it changes. With neither file nor store whoever reaches the port may call.',
  }),
  apiKeysStore: setting.optionalString({
    group: 'Tenants',
    secret: true,
    help: 'Store of API keys, as --store, or etcd:http://host:2379[,…], or discovery: for the etcd of --discovery: those that `stator keys create --api-keys-store` puts there. Unset: none.',
  }),
  apiKeysReloadSeconds: setting.number({
    default: 2,
    min: 0.05,
    max: 3600,
    group: 'Tenants',
    help: 'Seconds between looks at that file and that store; etcd tells of changes by itself.',
  }),
  apiKeysStaleSeconds: setting.optionalInteger({
    min: 10,
    max: 30 * 86_400,
    group: 'Tenants',
    help: 'Seconds for which the keys of a store or etcd that does not answer are good. Unset: until it answers.',
  }),
  oidcIssuer: setting.optionalString({
    group: 'Tenants',
    help: 'OpenID Connect provider whose tokens are keys too; their tenants need an entry in the file of keys.',
  }),
  oidcAudience: setting.string({ default: 'stator', group: 'Tenants', help: 'Audience that those tokens must name.' }),
  oidcTenantClaim: setting.string({
    default: 'tenant',
    group: 'Tenants',
    help: 'Claim of those tokens that names the tenant.',
  }),
  limitsStore: setting.optionalString({
    group: 'Tenants',
    secret: true,
    help: 'Where limits and budgets are counted, for all gateways that name the same: as --store. Unset: in that store; in memory: each gateway counts for itself.',
  }),
  limitsSyncMs: setting.integer({
    default: 200,
    min: 10,
    max: 60_000,
    group: 'Tenants',
    help: 'Milliseconds between the gateways’ exchanges of what was used.',
  }),
  limitsLeaseSeconds: setting.number({
    default: 15,
    min: 0.1,
    max: 3600,
    group: 'Tenants',
    help: 'Seconds after which concurrent requests of a gateway that died count no longer.',
  }),
  limitsStoreTimeoutMs: setting.integer({
    default: 1000,
    min: 10,
    max: 60_000,
    group: 'Tenants',
    help: 'Milliseconds after which an exchange with the store of limits has failed.',
  }),
  limitsWithoutStore: setting.choice(['local', 'refuse'], {
    default: 'local',
    group: 'Tenants',
    help: 'While the store of limits fails: each gateway counts for itself, or requests of callers with limits are refused.',
  }),
  auditLog: setting.optionalString({
    group: 'Tenants',
    help: 'File that gets one JSON line for each request: who, what, when, how many tokens. No content, no keys.',
  }),
  corsOrigins: setting.list({
    default: [],
    group: 'Tenants',
    help: 'Origins whose pages may call, for example https://chat.example.org; *: any. Empty: none.',
  }),
  console: setting.boolean({
    default: true,
    help: 'Whether /console is served; what it shows is for administrators, as /busy_threshold is.',
  }),
  consoleRequests: setting.integer({
    default: 200,
    min: 1,
    max: 10_000,
    help: 'Ended requests that the console can still show.',
  }),
  ...agentSettings,
  routeTimeoutSeconds: setting.integer({ default: 30, min: 1, help: 'Seconds that a request may wait for a worker.' }),
});

export type GatewayConfig = SettingsOf<typeof gatewaySettings>;
