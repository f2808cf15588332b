import { html, nothing, type TemplateResult } from 'lit-html';
import type { RequestLife } from '../../telemetry/request-journal.ts';
import type { ShownTier } from '../services.ts';
import type { ConsoleState, ShownLoad, ShownModel, ShownWorker } from '../state.ts';
import { bytes, clock, milliseconds, percent } from './format.ts';
import { sessions } from './sessions.ts';
import { topology } from './topology.ts';

/** Topology, models, workers, KV tiers, sessions and requests. */
export function overview(state: ConsoleState): TemplateResult {
  const { totals } = state;
  return html`
    ${state.degradations.map(({ message }) => html`<p class="notice">${message}</p>`)}
    <p>
      <b>${totals.running}</b> requests in flight, <b>${totals.sequences}</b> sequences at workers; of the prompt tokens of
      the requests below <b>${percent(totals.hit_rate)}</b> were cached.
    </p>
    <h2>Topology</h2>
    ${topology(state)}
    <h2>Models</h2>
    ${models(state.models)}
    <h2>Workers</h2>
    ${workers(state.workers)}
    <h2>KV tiers</h2>
    ${tiers(state.tiers)}
    <h2>Sessions</h2>
    ${sessions(state.sessions)}
    <h2>Requests</h2>
    ${requests(state.requests)}
  `;
}

function models(all: readonly ShownModel[]): TemplateResult {
  if (all.length === 0) return none('No worker promises a model.');
  return html`<div class="scroll"><table>
    <tr><th>model</th><th>state</th><th class="number">workers</th><th class="number">context</th><th class="number">KV block</th><th>adapters</th></tr>
    ${all.map(
      (one) => html`<tr>
        <td>${one.name}</td>
        <td class=${one.ready ? 'good' : 'bad'}>${one.ready ? 'ready' : 'not ready'}</td>
        <td class="number">${one.workers}</td>
        <td class="number">${one.context_length}</td>
        <td class="number">${one.kv_block_size}</td>
        <td>${one.adapters.join(', ')}</td>
      </tr>`,
    )}
  </table></div>`;
}

function workers(all: readonly ShownWorker[]): TemplateResult {
  if (all.length === 0) return none('No worker is known.');
  return html`<div class="scroll"><table>
    <tr><th>worker</th><th>role</th><th>models</th><th>session</th><th class="number">running</th><th class="number">queued</th><th>KV blocks in use</th><th class="number">cached</th></tr>
    ${all.map(
      (one) => html`<tr>
        <td title=${one.id}>${one.name} <span class="faint">${one.engine}</span></td>
        <td>${one.role}</td>
        <td>${one.models.join(', ')}</td>
        <td class=${one.session === 'ready' ? 'good' : 'warn'}>${one.session}</td>
        ${one.load === null ? html`<td colspan="4" class="faint">no answer</td>` : load(one.load)}
      </tr>`,
    )}
  </table></div>`;
}

function load({ running, queued, active_blocks, cached_blocks, total_blocks }: ShownLoad): TemplateResult {
  return html`<td class="number">${running}</td><td class="number">${queued}</td>
    <td><meter min="0" max=${Math.max(1, total_blocks)} value=${active_blocks}></meter> ${active_blocks} of ${total_blocks}</td>
    <td class="number">${cached_blocks}</td>`;
}

function tiers(all: readonly ShownTier[]): TemplateResult {
  if (all.length === 0) return none('No KV block manager is known: workers keep what they compute, and nothing below.');
  return html`<div class="scroll"><table>
    <tr><th>block manager</th><th>tier</th><th>layout</th><th>blocks</th><th class="number">bytes</th></tr>
    ${all.map(
      (one) => html`<tr>
        <td>${one.kvbm}</td><td>${one.tier}</td><td>${one.format}</td>
        <td><meter min="0" max=${Math.max(1, one.blocks)} value=${one.registered}></meter> ${one.registered} of ${one.blocks}</td>
        <td class="number">${bytes(one.registered * one.slot_bytes)}</td>
      </tr>`,
    )}
  </table></div>`;
}

function requests(all: readonly RequestLife[]): TemplateResult {
  if (all.length === 0) return none('No request yet.');
  return html`<div class="scroll"><table class="requests">
    <tr><th>at</th><th>request</th><th>model</th><th>key</th><th class="number">prompt</th><th class="number">cached</th><th class="number">output</th><th class="number">first token</th><th class="number">duration</th><th>outcome</th></tr>
    ${all.map((one) => {
      const [prompt] = one.prompts;
      const first = prompt?.events.find(({ name }) => name === 'first token');
      return html`<tr>
        <td>${clock(one.received_unix_ms)}</td>
        <td><a href="#/requests/${encodeURIComponent(one.id)}">${one.endpoint}</a></td>
        <td>${one.model}</td>
        <td>${one.key}</td>
        <td class="number">${prompt?.prompt_tokens ?? ''}</td>
        <td class="number">${prompt?.cached_tokens ?? ''}</td>
        <td class="number">${prompt?.output_tokens ?? ''}</td>
        <td class="number">${first === undefined ? nothing : milliseconds(first.ms)}</td>
        <td class="number">${milliseconds(one.duration_ms)}</td>
        <td class=${outcomeClass(one.outcome)}>${one.outcome}</td>
      </tr>`;
    })}
  </table></div>`;
}

export function outcomeClass(outcome: string): string {
  return outcome === 'answered' ? 'good' : outcome === 'running' ? '' : 'bad';
}

function none(text: string): TemplateResult {
  return html`<p class="faint">${text}</p>`;
}
