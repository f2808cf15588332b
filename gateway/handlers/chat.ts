import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import type { ChatRequest, InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { ChatPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import { strictToolsTrusted } from '../parsing/constraint.ts';
import { checkCard } from '../pipeline/check-card.ts';
import type { GenerationRequest } from '../pipeline/request.ts';
import { type ChatShape, chatShapeOf } from './chat-tools.ts';
import { streamDeltas } from './delta-stream.ts';
import { generationOf } from './request.ts';

function promptOf(request: ChatRequest, model: ResolvedModel, { tools }: ChatShape): GenerationRequest['prompt'] {
  const { messages } = request;
  if (messages.length === 0) throw StatorError.invalid('messages', '`messages` must not be empty');
  const modalities = model.entry.card.capabilities?.modalities ?? [];
  for (const [index, message] of messages.entries()) {
    for (const [place, { part }] of message.content.entries()) {
      if (part.case !== 'media' || modalities.includes(part.value.modality)) continue;
      const field = `messages[${index}].content[${place}]`;
      throw StatorError.unsupported(field, `\`${field}\` holds ${part.value.modality}, which the model does not read`);
    }
  }
  const value = create(ChatPromptSchema, {
    messages,
    tools,
    addGenerationPrompt: !request.continueFinalMessage,
    continueFinalMessage: request.continueFinalMessage,
    templateArgsJson: request.templateArgsJson,
  });
  return { case: 'chat', value };
}

export function chat(ctx: GatewayContext): Pick<ServiceImpl<typeof InferenceService>, 'chat'> {
  return {
    async *chat(request, context) {
      const model = ctx.catalog.resolve(request.model);
      const timeoutMs = ctx.config.requestTimeoutSeconds * 1000;
      const shape = chatShapeOf(request, model.entry, ctx.config.strictTools === 'enforce');
      const { parsing, guided } = shape;
      if (shape.trustsStrict) context.responseHeader.set('x-stator-not-enforced', strictToolsTrusted);
      const prompt = promptOf(request, model, shape);
      const generation = generationOf(request.options, model, prompt, { context, timeoutMs, parsing, guided });
      const seedGiven = request.options?.sampling?.seed !== undefined;
      checkCard(generation, Task.CHAT, {
        guided: guided?.field ?? '',
        logprobs: 'options.top_logprobs',
        seedGiven,
      });
      const head = {
        id: `chatcmpl-${generation.requestId}`,
        model: model.entry.name,
        createdUnix: BigInt(Math.floor(Date.now() / 1000)),
      };
      const o = { endpoint: 'chat_completions', options: request.options, prefix: '' } as const;
      for await (const part of streamDeltas(ctx, generation, context, o)) yield { ...head, ...part };
    },
  };
}
