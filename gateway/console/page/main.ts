// The console's page: asks the gateway for its state every second and shows the view that the address names.
import { html, nothing, render, type TemplateResult } from 'lit-html';
import type { ConsoleState } from '../state.ts';
import { fetchState, internalToken, Refused, saveInternalToken } from './api.ts';
import { overview } from './overview.ts';
import { Playground } from './playground.ts';
import { requestView } from './request-view.ts';

const refreshMs = 1000;

let state: ConsoleState | null = null;
let problem = '';
let isLocked = false;
const playground = new Playground(show);

function show(): void {
  const root = document.getElementById('app');
  if (root !== null) render(page(), root);
}

function page(): TemplateResult {
  const place = location.hash.slice(1) || '/';
  const link = (path: string, name: string): TemplateResult =>
    html`<a href="#${path}" aria-current=${place === path ? 'page' : nothing}>${name}</a>`;
  return html`
    <header>
      <h1>Stator</h1>
      <nav>${link('/', 'Overview')}${link('/chat', 'Chat')}<a href="/docs">API</a></nav>
      ${problem === '' ? nothing : html`<span class="bad">${problem}</span>`}
      ${state?.draining === true ? html`<span class="warn">shutting down</span>` : nothing}
    </header>
    <main>${isLocked ? unlock() : view(place)}</main>
  `;
}

function view(place: string): TemplateResult {
  if (place === '/chat') return playground.view(state);
  if (state === null) return html`<p class="faint">Waiting for the gateway…</p>`;
  const [, id] = /^\/requests\/(.+)$/.exec(place) ?? [];
  return id === undefined ? overview(state) : requestView(state, decodeURIComponent(id));
}

function unlock(): TemplateResult {
  return html`<form @submit=${(event: SubmitEvent) => save(event)}>
    <p>The gateway shows this to administrators only: it was started with an internal token.</p>
    <label>Internal token <input name="token" type="password" autocomplete="off" .value=${internalToken()} required /></label>
    <button type="submit">Open</button>
  </form>`;
}

function save(event: SubmitEvent): void {
  event.preventDefault();
  if (!(event.target instanceof HTMLFormElement)) return;
  saveInternalToken(String(new FormData(event.target).get('token') ?? ''));
  void refresh();
}

async function refresh(): Promise<void> {
  try {
    state = await fetchState();
    problem = '';
    isLocked = false;
  } catch (thrown) {
    isLocked = thrown instanceof Refused && thrown.status === 401;
    problem = thrown instanceof Refused ? thrown.message : 'The gateway cannot be reached.';
  }
  show();
}

async function run(): Promise<void> {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resolve) => setTimeout(resolve, refreshMs));
  }
}

addEventListener('hashchange', show);
show();
void run();
