import { z } from 'zod';
import { anthropicEvent, anthropicModel, anthropicModelList } from '../api/anthropic/answers.ts';
import { responseEvent } from '../api/responses/answers.ts';
import { busyThreshold, busyThresholdList, busyThresholdRequest } from '../api/schemas/busy-threshold.ts';
import { chatRequest } from '../api/schemas/chat.ts';
import { completionRequest } from '../api/schemas/completion.ts';
import { embeddingRequest } from '../api/schemas/embedding.ts';
import {
  chatChunk,
  chatCompletion,
  completion,
  embeddingList,
  healthBody,
  model,
  modelList,
  readiness,
} from '../api/schemas/responses.ts';
import {
  classification,
  classifyRequest,
  rerankList,
  rerankRequest,
  scoreList,
  scoreRequest,
} from '../api/schemas/scoring.ts';
import { detokenizeAnswer, detokenizeRequest, tokenizeAnswer, tokenizeRequest } from '../api/schemas/tokenize.ts';
import { anthropicDocs } from './anthropic-routes.ts';
import { batchDocs } from './batch-routes.ts';
import { mediaDocs } from './media-routes.ts';
import { responseDocs } from './response-routes.ts';
import { answered, failed, type RouteDoc, refused } from './route-doc.ts';

/** Every route of the REST API. Streams of completions have the chunks' schemas in their events. */
export const routeDocs: readonly RouteDoc[] = [
  {
    path: '/v1/chat/completions',
    method: 'post',
    operationId: 'createChatCompletion',
    summary: 'Answers a conversation. With `stream` = true: server-sent events of ChatCompletionChunk, then `[DONE]`.',
    body: chatRequest,
    routed: true,
    answers: [answered('The answer.', chatCompletion), refused, failed],
  },
  {
    path: '/v1/completions',
    method: 'post',
    operationId: 'createCompletion',
    summary: 'Completes text or token ids. With `stream` = true: server-sent events of Completion, then `[DONE]`.',
    body: completionRequest,
    routed: true,
    answers: [answered('The completions.', completion), refused, failed],
  },
  {
    path: '/v1/embeddings',
    method: 'post',
    operationId: 'createEmbedding',
    summary: 'Embeds texts or token ids.',
    body: embeddingRequest,
    routed: true,
    answers: [answered('One vector for each input.', embeddingList), refused, failed],
  },
  {
    path: '/v1/score',
    aliases: ['/score'],
    method: 'post',
    operationId: 'createScore',
    summary: 'Scores texts against one text, or pairs of texts.',
    body: scoreRequest,
    routed: true,
    answers: [answered('One score for each pair.', scoreList), refused, failed],
  },
  {
    path: '/v1/rerank',
    aliases: ['/rerank', '/v2/rerank'],
    method: 'post',
    operationId: 'createRerank',
    summary: 'Orders documents by how well they fit a query.',
    body: rerankRequest,
    routed: true,
    answers: [answered('The documents, best first.', rerankList), refused, failed],
  },
  {
    path: '/v1/classify',
    aliases: ['/classify'],
    method: 'post',
    operationId: 'createClassification',
    summary: 'Classifies texts or token ids.',
    body: classifyRequest,
    routed: true,
    answers: [answered('One classification for each input.', classification), refused, failed],
  },
  {
    path: '/tokenize',
    aliases: ['/v1/tokenize'],
    method: 'post',
    operationId: 'tokenize',
    summary: 'Turns text or a conversation into token ids.',
    body: tokenizeRequest,
    answers: [answered('The token ids.', tokenizeAnswer), refused, failed],
  },
  {
    path: '/detokenize',
    aliases: ['/v1/detokenize'],
    method: 'post',
    operationId: 'detokenize',
    summary: 'Turns token ids into text.',
    body: detokenizeRequest,
    answers: [answered('The text.', detokenizeAnswer), refused, failed],
  },
  ...responseDocs,
  ...batchDocs,
  ...anthropicDocs,
  ...mediaDocs,
  {
    path: '/v1/models',
    method: 'get',
    operationId: 'listModels',
    summary: "Lists the models that can be asked for now; with the header `anthropic-version` in Anthropic's shape.",
    body: null,
    answers: [answered('The models.', z.union([modelList, anthropicModelList])), refused],
  },
  {
    path: '/v1/models/{id}',
    method: 'get',
    operationId: 'getModel',
    summary: 'Describes a model. The id may hold slashes.',
    body: null,
    answers: [answered('The model.', z.union([model, anthropicModel])), refused, failed],
  },
  {
    path: '/v1/models/{id}/ready',
    method: 'get',
    operationId: 'getModelReadiness',
    summary: 'Says whether a model can be asked for, and what it lacks.',
    body: null,
    answers: [
      answered('It can.', readiness),
      { status: '503', description: 'It cannot yet.', schema: readiness },
      refused,
    ],
  },
  {
    path: '/busy_threshold',
    method: 'get',
    operationId: 'listBusyThresholds',
    summary: 'Lists when the workers of each model count as busy. Only with the internal token, where one is set.',
    body: null,
    answers: [answered('The thresholds.', busyThresholdList), refused, failed],
  },
  {
    path: '/busy_threshold',
    method: 'post',
    operationId: 'setBusyThreshold',
    summary: 'Sets when the workers of a model count as busy; without thresholds: only reads them.',
    body: busyThresholdRequest,
    answers: [answered('The thresholds in force.', busyThreshold), refused, failed],
  },
  {
    path: '/health',
    method: 'get',
    operationId: 'getHealth',
    summary: 'Whether new requests are taken, and what is missing.',
    body: null,
    answers: [
      answered('Requests are taken.', healthBody),
      { status: '503', description: 'The gateway is draining.', schema: healthBody },
    ],
  },
  {
    path: '/live',
    method: 'get',
    operationId: 'getLive',
    summary: 'Whether the process runs.',
    body: null,
    answers: [answered('It runs.', null)],
  },
  {
    path: '/metrics',
    method: 'get',
    operationId: 'getMetrics',
    summary: 'Metrics in the text format of Prometheus.',
    body: null,
    answers: [{ status: '200', description: 'The metrics.', schema: null }],
  },
  {
    path: '/openapi.json',
    method: 'get',
    operationId: 'getOpenApi',
    summary: 'This document.',
    body: null,
    answers: [answered('The document.', null)],
  },
  {
    path: '/docs',
    method: 'get',
    operationId: 'getDocs',
    summary: 'This document as a page.',
    body: null,
    answers: [answered('The page.', null)],
  },
];

/** Chunks of streams; not the body of any answer by themselves. */
export const streamSchemas: readonly z.ZodType[] = [chatChunk, anthropicEvent, responseEvent];
