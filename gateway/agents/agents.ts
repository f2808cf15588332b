import type { SettingsOf } from '#lib/config/settings.ts';
import type { Store } from '#lib/store/store.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { PipelineParts, TurnObserver } from '../pipeline/parts.ts';
import { anybody, type Caller, currentCaller } from '../tenants/caller.ts';
import { type SessionAccount, SessionAccounts } from './accounts.ts';
import type { AgentFacts } from './facts.ts';
import { AgentMetrics } from './metrics.ts';
import { type SessionNaming, sessionNaming } from './redact.ts';
import type { ToolEvent } from './request-trace/records.ts';
import { noTrace, openRequestTrace, type TraceSink } from './request-trace/request-trace.ts';
import { LocalSessions, type SessionBook } from './session-book.ts';
import type { agentSettings } from './settings.ts';
import { SharedSessions } from './shared-sessions.ts';
import { SpeculativePrefills } from './speculation/speculation.ts';
import { ToolClock } from './tool-clock.ts';
import { openToolFeed, type ToolFeed } from './tool-events/feed.ts';

type AgentConfig = SettingsOf<typeof agentSettings>;

/** Calls of tools whose results are waited for at once, and for how long. */
const mostOpenCalls = 10_000;
const openCallTtlMs = 3_600_000;

/** A turn that runs. */
interface Turn {
  readonly caller: Caller;
  readonly tenant: string;
  /** null: its request names no session. */
  readonly account: SessionAccount | null;
}

/** What the gateway does for agents around their turns: accounts, traces, the clock of tools, and the next turn in advance. */
export class Agents implements TurnObserver {
  /** Of this gateway. */
  readonly accounts: SessionAccounts;
  /** Of all gateways that share the store. */
  readonly sessions: SessionBook;
  readonly naming: SessionNaming;
  readonly #config: AgentConfig;
  readonly #telemetry: Telemetry;
  readonly #metrics: AgentMetrics;
  readonly #tools: ToolClock;
  readonly #trace: TraceSink;
  readonly #speculation: SpeculativePrefills;
  readonly #turns = new Map<Generation, Turn>();
  #feed: ToolFeed | null = null;

  /** `store`: where gateways share accounts; null: nowhere. Throws `invalid_argument` for a file of the request trace that cannot be written. */
  constructor(config: AgentConfig, telemetry: Telemetry, parts: () => PipelineParts, store: Store | null) {
    const metrics = new AgentMetrics(telemetry.metrics);
    const nowMs = (): number => Date.now();
    this.#config = config;
    this.#telemetry = telemetry;
    this.#metrics = metrics;
    this.naming = sessionNaming(config.sessionIds);
    this.accounts = new SessionAccounts({
      maxSessions: config.sessionAccounts,
      ttlMs: config.sessionAccountTtlSeconds * 1000,
      nowMs,
      onForgotten: (why) => metrics.forgotten(why),
    });
    this.sessions =
      store === null
        ? new LocalSessions(this.accounts, this.naming)
        : new SharedSessions({
            ...{ store, nowMs, naming: this.naming, log: telemetry.log },
            maxSessions: config.sessionAccounts,
            ttlMs: config.sessionAccountTtlSeconds * 1000,
            syncMs: config.sessionAccountsSyncSeconds * 1000,
            onExchange: (outcome) => metrics.accountExchange(outcome),
            onLost: () => metrics.forgotten('room'),
          });
    this.#tools = new ToolClock({
      maxCalls: mostOpenCalls,
      ttlMs: openCallTtlMs,
      nowMs,
      onForgotten: () => metrics.toolEvent('forgotten', 'conversation'),
    });
    this.#trace = traceOf(config, telemetry, metrics, this.naming);
    this.#speculation = new SpeculativePrefills({
      parts,
      maxRunning: config.speculativePrefills,
      maxLoad: config.speculativePrefillMaxLoad,
      timeoutMs: config.speculativePrefillTimeoutSeconds * 1000,
      metrics,
    });
    metrics.expose({
      sessions: () => this.accounts.size,
      speculating: () => this.#speculation.running,
      openCalls: () => this.#tools.open,
    });
  }

  /** Opens what agents push to. Throws `invalid_argument` for an address that cannot be used. Returns the address, if any. */
  async listen(): Promise<string | null> {
    const { toolEventsEndpoint: endpoint, toolEventsTopic: topic } = this.#config;
    if (endpoint === undefined) return null;
    this.#feed = await openToolFeed({
      endpoint,
      topic,
      onEvent: (event) => this.#told(event),
      onGarbled: () => this.#metrics.toolEvent('garbled', 'harness'),
      log: this.#telemetry.log,
    });
    return this.#feed.endpoint;
  }

  began(generation: Generation): void {
    const { agent } = generation.request;
    const caller = currentCaller() ?? anybody;
    const { tenant } = caller;
    const account = agent.identity === null ? null : this.accounts.use(tenant, agent.identity);
    this.#turns.set(generation, { caller, tenant, account });
    if (account !== null) {
      account.running += 1;
      account.requests += 1;
      this.sessions.note(account);
    }
    for (const id of agent.toolResults) this.#resultCame(id, agent, tenant, account);
    this.#speculation.began(generation, account === null ? null : scopeOf(tenant, account.sessionId));
  }

  ended(generation: Generation): void {
    const turn = this.#turns.get(generation);
    if (turn === undefined) return;
    this.#turns.delete(generation);
    const { agent } = generation.request;
    this.#speculation.ended(generation);
    this.#metrics.turn(agent.identity?.source ?? 'none', generation);
    this.#countTargets(generation);
    if (turn.account !== null) {
      addTurn(turn.account, generation);
      this.sessions.note(turn.account);
    }
    // The end of the answer goes first.
    setImmediate(() => {
      try {
        this.#trace.request(generation);
        for (const { id, name } of callsOf(generation)) this.#callEnded(id, name, agent, turn);
        if (this.#goesOn(generation, turn)) this.#foresee(generation, turn);
      } catch (thrown) {
        this.#telemetry.log.error({ err: thrown }, 'the end of a turn could not be told');
      }
    });
  }

  async close(): Promise<void> {
    this.#feed?.close();
    this.#speculation.close();
    await this.#trace.close();
    await this.sessions.close();
  }

  /** Whether a next turn is expected, and wanted in advance. */
  #goesOn({ request, prompt, choices }: Generation, { account }: Turn): boolean {
    const { speculativePrefill, identity, totalRequests } = request.agent;
    if (!speculativePrefill || identity?.isFinal === true || prompt.media.length > 0) return false;
    if (totalRequests !== null && account !== null && account.requests >= totalRequests) return false;
    return choices.every(({ finish }) => finish !== null && finish.reason !== 'error');
  }

  #foresee(generation: Generation, { caller, tenant, account }: Turn): void {
    const scope = account === null ? generation.request.requestId : scopeOf(tenant, account.sessionId);
    const onTokens = (tokens: number): void => {
      if (account === null) return;
      account.speculativeTokens += tokens;
      this.sessions.note(account);
    };
    this.#speculation.foresee(generation, { scope, caller, onTokens });
  }

  #countTargets({ request, times, outputTokens }: Generation): void {
    const { ttftMs, itlMs } = request.agent.targets;
    const { receivedMs, firstTokenMs, lastTokenMs } = times;
    if (ttftMs !== null) this.#metrics.target('ttft', firstTokenMs > 0 && firstTokenMs - receivedMs <= ttftMs);
    if (itlMs !== null && outputTokens > 1)
      this.#metrics.target('itl', (lastTokenMs - firstTokenMs) / (outputTokens - 1) <= itlMs);
  }

  /** The model wants a tool: the agent runs it now. */
  #callEnded(id: string, name: string, { identity }: AgentFacts, { tenant, account }: Turn): void {
    const call = this.#tools.start(scopeOf(tenant, identity?.sessionId ?? ''), id, name);
    if (account !== null) {
      account.toolCalls += 1;
      this.sessions.note(account);
    }
    const facts = { tool_call_id: id, status: 'running', started_at_unix_ms: call.startedMs } as const;
    this.#tool('tool_start', call.startedMs, identity, { ...facts, tool_name_hash: this.naming(name) });
  }

  #resultCame(id: string, { identity }: AgentFacts, tenant: string, account: SessionAccount | null): void {
    const call = this.#tools.end(scopeOf(tenant, identity?.sessionId ?? ''), id);
    if (call === null) return;
    const { name, startedMs, endedMs } = call;
    const durationMs = endedMs - startedMs;
    if (account !== null) {
      account.toolResults += 1;
      account.toolMs += durationMs;
      this.sessions.note(account);
    }
    const times = { started_at_unix_ms: startedMs, ended_at_unix_ms: endedMs, duration_ms: durationMs };
    const facts = { tool_call_id: id, status: 'succeeded', ...times } as const;
    this.#tool('tool_end', endedMs, identity, { ...facts, tool_name_hash: this.naming(name) });
  }

  #tool(type: ToolEvent['type'], unixMs: number, identity: AgentFacts['identity'], tool: ToolEvent['tool']): void {
    const sessionId = identity?.sessionId ?? '';
    const parentSessionId = identity?.parentSessionId ?? '';
    this.#metrics.toolEvent(type, 'conversation');
    this.#trace.tool({ type, unixMs, origin: 'conversation', sessionId, parentSessionId, tool });
  }

  #told(event: ToolEvent): void {
    this.#metrics.toolEvent(event.type, 'harness');
    this.#trace.tool(event);
  }
}

function traceOf(config: AgentConfig, telemetry: Telemetry, metrics: AgentMetrics, naming: SessionNaming): TraceSink {
  const { requestTrace: file, requestTraceMaxMib, requestTraceFiles, requestTraceQueue } = config;
  if (file === undefined) return noTrace;
  return openRequestTrace({
    ...{ file, metrics, naming, log: telemetry.log },
    maxBytes: requestTraceMaxMib * 1024 ** 2,
    maxFiles: requestTraceFiles,
    maxWaiting: requestTraceQueue,
  });
}

function addTurn(account: SessionAccount, { prompt, cachedTokens, outputTokens, choices, times }: Generation): void {
  account.running -= 1;
  account.lastUnixMs = Date.now();
  account.promptTokens += prompt.tokenIds.length;
  account.cachedTokens += cachedTokens;
  account.outputTokens += outputTokens;
  if (times.prefillBeganMs > 0 && times.firstTokenMs > 0)
    account.prefillMs += Math.max(0, times.firstTokenMs - times.prefillBeganMs);
  if (choices.some(({ finish }) => finish === null || finish.reason === 'error')) account.failed += 1;
}

function callsOf({ choices }: Generation): readonly { readonly id: string; readonly name: string }[] {
  return choices.flatMap((choice) => (choice.finishReason === 'tool_calls' ? (choice.parser?.calls ?? []) : []));
}

/** Whose identifiers these are. */
function scopeOf(tenant: string, sessionId: string): string {
  return `${tenant.length}:${tenant}${sessionId}`;
}
