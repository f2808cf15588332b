import {
  deletedResponse,
  inputItemList,
  inputTokenCount,
  responseEvent,
  responseObject,
} from '../api/responses/answers.ts';
import { inputTokensRequest, responsesRequest } from '../api/responses/schema.ts';
import { pageParameters, storedStreamParameters } from './parameters.ts';
import { refusals } from './refusals.ts';
import { answered, type RouteDoc } from './route-doc.ts';

/** Paths of responses. */
export const responseDocs: readonly RouteDoc[] = [
  {
    path: '/v1/responses',
    method: 'post',
    operationId: 'createResponse',
    summary: 'Answers a conversation that may be stored. With `stream` = true: server-sent events of ResponseEvent.',
    body: responsesRequest,
    routed: true,
    answers: [answered('The response, or with `background` the one that has begun.', responseObject)],
    events: responseEvent,
    limited: true,
    refusals: [...refusals.conversing, 'conflict'],
  },
  {
    path: '/v1/responses/input_tokens',
    method: 'post',
    operationId: 'countResponseInputTokens',
    summary: 'Counts the tokens of what a response would be asked with.',
    body: inputTokensRequest,
    answers: [answered('The number.', inputTokenCount)],
    limited: true,
    refusals: [...refusals.counting, 'not_found', 'storage_unavailable'],
  },
  {
    path: '/v1/responses/{id}',
    method: 'get',
    operationId: 'getResponse',
    summary: 'Gives a stored response, or with `stream` = true its events, while it runs in the background and after.',
    body: null,
    parameters: storedStreamParameters,
    answers: [answered('The response.', responseObject)],
    events: responseEvent,
    refusals: [...refusals.stored, 'invalid_argument'],
  },
  {
    path: '/v1/responses/{id}',
    method: 'delete',
    operationId: 'deleteResponse',
    summary: 'Deletes a stored response; one that runs in the background ends.',
    body: null,
    answers: [answered('It is deleted.', deletedResponse)],
    refusals: refusals.stored,
  },
  {
    path: '/v1/responses/{id}/cancel',
    method: 'post',
    operationId: 'cancelResponse',
    summary: 'Ends a response that runs in the background.',
    body: null,
    answers: [answered('The response.', responseObject)],
    refusals: [...refusals.stored, 'invalid_argument'],
  },
  {
    path: '/v1/responses/{id}/input_items',
    method: 'get',
    operationId: 'listInputItems',
    summary: 'Lists what a stored response was asked with, in pages by `limit`, `after` and `order`.',
    body: null,
    answers: [answered('The items.', inputItemList)],
    parameters: pageParameters(20, 100),
    refusals: [...refusals.stored, 'invalid_argument'],
  },
];
