/** A connection of a client that a stream of a tunnel carries, without an engine. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import type { TunnelStream } from '../../../proxy/model/tunnel/tunnels.ts'

/** `done` resolves with how it ended. */
export async function carry(t: Test, stream: TunnelStream): Promise<{ client: Socket; done: Promise<string> }> {
  const door = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  t.teardown(() => door.close())
  await once(door, 'listening')
  const client = connect({ ...(door.address() as { port: number }), host: '127.0.0.1', allowHalfOpen: true })
  const [near] = (await once(door, 'connection')) as [Socket]
  return { client, done: new Promise(resolve => stream.carry(near, resolve)) }
}
