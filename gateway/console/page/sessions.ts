import { html, type TemplateResult } from 'lit-html';
import type { ShownSession } from '../../agents/shown-session.ts';
import { clock, milliseconds, percent } from './format.ts';

/** Sessions of agents and what they used. */
export function sessions(all: readonly ShownSession[]): TemplateResult {
  if (all.length === 0) return html`<p class="faint">No request named a session.</p>`;
  return html`<div class="scroll"><table class="sessions">
    <tr><th>last</th><th>session</th><th>source</th><th class="number">requests</th><th class="number">running</th><th class="number">prompt</th><th class="number">cached</th><th class="number">output</th><th class="number">prefill</th><th class="number">in advance</th><th class="number">tools</th><th class="number">tool time</th></tr>
    ${all.map(
      (one) => html`<tr>
        <td>${clock(one.last_request_at * 1000)}</td>
        <td title=${one.parent_id === null ? 'begun by nobody' : `begun by ${one.parent_id}`}>
          ${one.parent_id === null ? '' : '↳ '}${one.id}${one.final ? html` <span class="faint">ended</span>` : ''}
        </td>
        <td>${one.source}</td>
        <td class="number">${one.requests}</td>
        <td class="number">${one.running}</td>
        <td class="number">${one.prompt_tokens}</td>
        <td class="number">${percent(one.prompt_tokens === 0 ? null : one.cached_tokens / one.prompt_tokens)}</td>
        <td class="number">${one.output_tokens}</td>
        <td class="number">${milliseconds(one.prefill_ms)}</td>
        <td class="number">${one.speculative_tokens}</td>
        <td class="number">${one.tool_results} of ${one.tool_calls}</td>
        <td class="number">${milliseconds(one.tool_ms)}</td>
      </tr>`,
    )}
  </table></div>`;
}
