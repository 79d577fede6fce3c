/** A server with etcd's protocol and answers chosen by the test, for cases that a real server cannot produce. */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { Test } from 'tap'
import type { Shape, Values } from '../../../proxy/clients/etcd/protobuf.ts'
import { kv, type Method } from '../../../proxy/clients/etcd/rpc.ts'

type Range = typeof kv.range extends Method<infer Q, infer A> ? [Q, A] : never
export type RangeReply = (asked: Values<Range[0]>) => Partial<Values<Range[1]>>

/** Answers only range requests. Returns its URL. */
export async function scriptedEtcd(t: Test, reply: RangeReply): Promise<string> {
  const server = new Server()
  server.register(
    kv.range.path,
    (call: { request: Values<Range[0]> }, done: (error: null, answer: Partial<Values<Range[1]>>) => void) =>
      done(null, reply(call.request)),
    values => kv.range.answer.encode(values),
    bytes => kv.range.request.decode(bytes),
    'unary',
  )
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  t.teardown(() => server.forceShutdown())
  return `http://127.0.0.1:${port}`
}

export function headerOf(clusterId: bigint, revision = 1): NonNullable<Values<Shape & Range[1]>['header']> {
  return { clusterId, memberId: 1n, revision }
}
