/** The gRPC service of the tests, without generated code: messages are UTF-8 text. */
import type { MethodDefinition } from '@grpc/grpc-js'

const method = (path: string, stream: boolean): MethodDefinition<string, string> => ({
  path,
  requestStream: stream,
  responseStream: stream,
  requestSerialize: text => Buffer.from(text),
  requestDeserialize: bytes => bytes.toString(),
  responseSerialize: text => Buffer.from(text),
  responseDeserialize: bytes => bytes.toString(),
})

export const service = { call: method('/test.Echo/Call', false), talk: method('/test.Echo/Talk', true) }
