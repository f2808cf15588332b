import { html, nothing, svg, type TemplateResult } from 'lit-html';
import type { CostLife, DecisionLife, PromptLife, RequestLife } from '../../telemetry/request-journal.ts';
import type { ConsoleState } from '../state.ts';
import { clock, milliseconds } from './format.ts';
import { outcomeClass } from './overview.ts';

/** One request's life: when what happened, and why which worker. */
export function requestView(state: ConsoleState, id: string): TemplateResult {
  const request = state.requests.find((one) => one.id === id);
  if (request === undefined)
    return html`<p class="faint">The gateway does not know this request any more. It keeps the last ones only.</p>`;
  return html`
    <h2>${request.endpoint} <span class="faint">${request.id}</span></h2>
    <p>
      ${clock(request.received_unix_ms)} · ${request.model} · ${request.type} ·
      <span class=${outcomeClass(request.outcome)}>${request.outcome}</span> after ${milliseconds(request.duration_ms)}
    </p>
    ${request.error === '' ? nothing : html`<p class="notice">${request.error}</p>`}
    ${request.prompts.map((prompt) => promptView(state, request, prompt))}
  `;
}

function promptView(state: ConsoleState, request: RequestLife, prompt: PromptLife): TemplateResult {
  return html`
    <p>
      ${prompt.prompt_tokens} prompt tokens, ${prompt.cached_tokens} of them cached; ${prompt.output_tokens} tokens of output in
      ${prompt.choices} ${prompt.choices === 1 ? 'choice' : 'choices'};
      ${prompt.migrations === 0 ? 'never moved' : `moved ${prompt.migrations} times`}
    </p>
    ${timeline(request, prompt)} ${prompt.decisions.map((decision) => decisionView(state, decision))}
  `;
}

/** A bar for each stretch between two events. */
function timeline(request: RequestLife, { events }: PromptLife): TemplateResult {
  const ordered = [...events].sort((a, b) => a.ms - b.ms);
  const total = Math.max(1, request.duration_ms);
  const stretches = [...ordered, { name: request.outcome, ms: request.duration_ms }].map((event, at) => ({
    ...event,
    fromMs: ordered[at - 1]?.ms ?? 0,
  }));
  const rowHeight = 22;
  return html`<svg class="timeline" role="img" aria-label="Timeline" viewBox="0 0 900 ${stretches.length * rowHeight}">
    ${stretches.map(({ name, ms, fromMs }, row) => {
      const x = 320 + (fromMs / total) * 560;
      const width = Math.max(1, ((ms - fromMs) / total) * 560);
      const y = row * rowHeight;
      return svg`<text x="0" y=${y + 15}>${name}</text>
        <text x="310" y=${y + 15} text-anchor="end">${milliseconds(ms)}</text>
        <rect class="bar" x=${x} y=${y + 4} width=${width} height=${rowHeight - 8} />`;
    })}
  </svg>`;
}

function decisionView(state: ConsoleState, decision: DecisionLife): TemplateResult {
  const { blocks, prompt_blocks, queue_us, queue_depth, by_session, disaggregation } = decision;
  const cached = Object.entries(blocks)
    .filter(([, count]) => count > 0)
    .map(([tier, count]) => `${count} on ${tier}`);
  const reasons = [
    `${prompt_blocks} blocks in the prompt, ${cached.length === 0 ? 'none cached there' : cached.join(', ')}`,
    `${milliseconds(queue_us / 1000)} in the router's queue behind ${queue_depth}`,
    ...(by_session ? ['bound to its session'] : []),
    ...(disaggregation === '' ? [] : [disaggregation]),
  ];
  return html`<h2>${decision.stage === 'decode' ? 'Decode' : 'Prompt'}: ${workerName(state, decision.worker_id)}</h2>
    <p>${reasons.join(' · ')}</p>
    ${decision.costs.length === 0 ? nothing : costs(state, decision)}`;
}

function costs(state: ConsoleState, decision: DecisionLife): TemplateResult {
  const terms = [...new Set(decision.costs.flatMap((one) => Object.keys(one.terms)))];
  const row = (one: CostLife): TemplateResult => html`<tr>
    <td>${one.worker_id === decision.worker_id ? html`<b>${workerName(state, one.worker_id)}</b>` : workerName(state, one.worker_id)}</td>
    <td class="number">${one.excluded_because === '' ? one.cost.toFixed(2) : html`<span class="bad">${one.excluded_because}</span>`}</td>
    ${terms.map((term) => html`<td class="number">${one.terms[term]?.toFixed(2) ?? ''}</td>`)}
  </tr>`;
  return html`<div class="scroll"><table>
    <tr><th>worker</th><th class="number">cost</th>${terms.map((term) => html`<th class="number">${term}</th>`)}</tr>
    ${decision.costs.map(row)}
  </table></div>`;
}

function workerName(state: ConsoleState, id: string): string {
  return state.workers.find((worker) => worker.id === id)?.name ?? id;
}
