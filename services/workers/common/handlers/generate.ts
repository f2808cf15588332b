import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { TokenizerSpec_Source } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { EngineText } from '../engine.ts';
import { GenerateStream } from '../generate-stream.ts';
import type { EngineHost } from '../host.ts';
import type { RunningSequence } from '../sequence.ts';
import type { ContextOf, EngineServiceImpl } from './handler.ts';

/** One sequence as a server stream. Whatever way the stream ends, the sequence ends with it. */
export function generate(contextOf: ContextOf): Pick<EngineServiceImpl, 'generate'> {
  return {
    async *generate(request, call) {
      const { models, state, config } = contextOf();
      state.checkTakesWork();
      const host = models.resolve(request);
      const text = needsText(request) ? textOf(host, request) : undefined;
      encodePrompt(request, host, text);
      let sequence: RunningSequence | undefined;
      const cancel = (): void => {
        if (sequence !== undefined) host.cancel(sequence);
      };
      const stream = new GenerateStream({ request, text, maxUnread: config.generateBufferTokens, cancel });
      sequence = host.submit(request, stream);
      // A stream that nobody pulls would not notice the end of its call.
      call.signal.addEventListener('abort', cancel, { once: true });
      try {
        yield* stream.read(call.signal);
      } finally {
        call.signal.removeEventListener('abort', cancel);
        cancel();
      }
    },
  };
}

function needsText({ prompt, tokenIds, stop, output }: GenerateRequest): boolean {
  return (tokenIds.length === 0 && prompt !== '') || (stop?.stopStrings.length ?? 0) > 0 || output?.text === true;
}

function textOf(host: EngineHost, request: GenerateRequest): EngineText {
  const { text } = host.engine;
  if (text !== undefined) return text;
  const field = request.output?.text === true ? 'output.text' : request.prompt === '' ? 'stop.stop_strings' : 'prompt';
  const source = host.card.tokenizer?.source ?? TokenizerSpec_Source.UNSPECIFIED;
  const why =
    source === TokenizerSpec_Source.UNSPECIFIED ? 'its card has no tokenizer' : 'its engine works on token ids only';
  throw StatorError.unsupported(field, `model ${host.card.name} takes and gives no text here: ${why}`);
}

function encodePrompt(request: GenerateRequest, host: EngineHost, text: EngineText | undefined): void {
  if (request.tokenIds.length > 0 || request.prompt === '') return;
  if (text?.encode === undefined)
    throw StatorError.unsupported('prompt', `model ${host.card.name} takes token ids only: send token_ids`);
  request.tokenIds = [...text.encode(request.prompt)];
}
