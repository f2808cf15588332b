import type { StatorError } from '#lib/errors/errors.ts';
import type { AnswerPlan } from '../api/translate/job.ts';
import { foldParts } from '../parsing/parts.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation, GenerationObserver } from '../pipeline/generation.ts';
import { escapeJson } from '../sse/json-escape.ts';
import { renderMessage } from './chat-parts.ts';
import {
  renderChatLogprobs,
  renderCompletionLogprobs,
  renderEchoedLogprobs,
  renderPromptLogprobs,
  type TokenStyle,
} from './logprobs.ts';
import { renderFields, wholeFields } from './nvext.ts';
import { renderUsage, usageOf } from './usage.ts';

/** Waits until every choice has ended; the first that fails ends the others. */
export class UnaryAnswer implements GenerationObserver {
  readonly #done: Promise<void>;
  #resolve: () => void = () => {};
  #reject: (error: StatorError) => void = () => {};
  #generations: readonly Generation[] = [];

  constructor() {
    this.#done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever awaits sees the rejection; without this an early failure would count as unhandled.
    this.#done.catch(() => {});
  }

  attach(generations: readonly Generation[]): Promise<void> {
    this.#generations = generations;
    this.choiceChanged();
    return this.#done;
  }

  choiceChanged(choice?: Choice): void {
    if (choice !== undefined && choice.finish === null) return;
    if (this.#generations.length === 0) return;
    for (const generation of this.#generations) {
      for (const { finish } of generation.choices) {
        if (finish?.error) {
          this.#reject(finish.error);
          for (const other of this.#generations) other.cancel();
          return;
        }
      }
    }
    if (this.#generations.every((generation) => generation.done)) this.#resolve();
  }
}

/** The whole answer in OpenAI's shape, as JSON. */
export function renderAnswer(plan: AnswerPlan, generations: readonly Generation[]): string {
  const object = plan.kind === 'chat' ? 'chat.completion' : 'text_completion';
  const choices = generations.flatMap((generation) =>
    generation.choices.map((choice) => renderChoice(plan, generation, choice)),
  );
  const usage = renderUsage(usageOf(generations));
  return (
    `{"id":"${plan.id}","object":"${object}","created":${plan.createdUnix},"model":"${escapeJson(plan.model)}",` +
    `"system_fingerprint":"${plan.fingerprint}","choices":[${choices.join(',')}],"usage":${usage}` +
    `${renderRoot(plan, generations)}}`
  );
}

function renderChoice(plan: AnswerPlan, generation: Generation, choice: Choice): string {
  const { tokens } = generation.prompt;
  const style = { tokens, asIds: plan.tokensAsIds };
  const reason = choice.finishReason;
  if (plan.kind === 'chat') {
    const logprobs = plan.logprobs ? renderChatLogprobs(choice.takeLogprobs(), style) : 'null';
    const message = renderMessage(foldParts(choice.takeParts()), plan.reasoningField);
    return `{"index":${choice.index},"message":${message},"logprobs":${logprobs},"finish_reason":"${reason}"}`;
  }
  const echoed = plan.echo ? generation.prompt.text : '';
  const text = escapeJson(echoed + choice.takeText());
  const logprobs = plan.logprobs ? completionLogprobs(plan, generation, choice, style) : 'null';
  const prompt = plan.promptLogprobs ? `,"prompt_logprobs":${promptLogprobs(generation)}` : '';
  return `{"index":${choice.index},"text":"${text}","logprobs":${logprobs},"finish_reason":"${reason}"${prompt}}`;
}

function completionLogprobs(plan: AnswerPlan, { prompt }: Generation, choice: Choice, style: TokenStyle): string {
  const output = choice.takeLogprobs();
  return plan.echo ? renderEchoedLogprobs(prompt, output, style).json : renderCompletionLogprobs(output, style, 0).json;
}

function promptLogprobs(generation: Generation): string {
  const style = { tokens: generation.prompt.tokens, asIds: false };
  return generation.prompt.logprobs === null ? 'null' : renderPromptLogprobs(generation.prompt.logprobs, style);
}

/** What stands beside `choices`: prompt log-probabilities of a chat and the extension object. */
function renderRoot(plan: AnswerPlan, generations: readonly Generation[]): string {
  const [first] = generations;
  if (first === undefined) return '';
  let out = '';
  if (plan.kind === 'chat' && plan.promptLogprobs) out += `,"prompt_logprobs":${promptLogprobs(first)}`;
  const nvext = wholeFields(plan, generations);
  return nvext.size === 0 ? out : `${out},"nvext":${renderFields(nvext)}`;
}
