import { z } from 'zod';
import { batchList, batchObject, batchRequest } from '../api/batches/schema.ts';
import { deletedFile, fileList, fileObject, fileUpload } from '../api/files/answers.ts';
import { pageParameters, purposeParameter } from './parameters.ts';
import { refusals } from './refusals.ts';
import { type Answer, answered, type RouteDoc } from './route-doc.ts';

function plain(
  method: RouteDoc['method'],
  path: string,
  operationId: string,
  summary: string,
  answer: Answer,
): RouteDoc {
  return { path, method, operationId, summary, body: null, answers: [answer], refusals: refusals.stored };
}

/** Paths of files and batches. */
export const batchDocs: readonly RouteDoc[] = [
  {
    ...plain('post', '/v1/files', 'createFile', 'Uploads a file.', answered('The file.', fileObject)),
    body: fileUpload,
    bodyMedia: 'multipart/form-data',
    refusals: refusals.storing,
  },
  {
    ...plain('get', '/v1/files', 'listFiles', 'Lists files, in pages.', answered('The files.', fileList)),
    parameters: [...pageParameters(1000, 10_000), purposeParameter],
    refusals: refusals.storedList,
  },
  plain('get', '/v1/files/{id}', 'getFile', 'Describes a file.', answered('The file.', fileObject)),
  plain('delete', '/v1/files/{id}', 'deleteFile', 'Deletes a file.', answered('It is deleted.', deletedFile)),
  plain(
    'get',
    '/v1/files/{id}/content',
    'getFileContent',
    'Gives the content of a file.',
    answered('The content.', z.string().meta({ format: 'binary' }), 'application/octet-stream'),
  ),
  {
    ...plain('post', '/v1/batches', 'createBatch', 'Runs the requests of a file.', answered('The batch.', batchObject)),
    body: batchRequest,
    refusals: refusals.storing,
  },
  {
    ...plain('get', '/v1/batches', 'listBatches', 'Lists batches, in pages.', answered('The batches.', batchList)),
    parameters: pageParameters(20, 100),
    refusals: refusals.storedList,
  },
  plain('get', '/v1/batches/{id}', 'getBatch', 'Describes a batch.', answered('The batch.', batchObject)),
  plain('post', '/v1/batches/{id}/cancel', 'cancelBatch', 'Ends a batch.', answered('The batch.', batchObject)),
];
